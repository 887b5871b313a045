-- Questions to a ledger in PostgreSQL, each on its own. docs/ledger.md has every table, view and column.
-- Instants are milliseconds since 1970-01-01 UTC. `at time zone` makes them a wall clock.

-- The first and the last punch of each employee on each day, and how many there were, each punch once and without
-- those that a correction has replaced.
select employee,
       (to_timestamp(event_time / 1000.0) at time zone 'UTC')::date as day,
       min(to_timestamp(event_time / 1000.0) at time zone 'UTC') as first_punch,
       max(to_timestamp(event_time / 1000.0) at time zone 'UTC') as last_punch,
       count(distinct event_id) as punches
from punches
where outcome = 'delivered'
  and event_id not in (select supersedes from corrections where supersedes <> event_id)
group by employee, day
order by employee, day;

-- How many records did not reach the target, and why, by device.
select device_id, outcome, reason, count(*) as records
from punches
where outcome <> 'delivered'
group by device_id, outcome, reason
order by device_id, outcome, reason;

-- How late punches arrived, by device: the median and the worst, in seconds.
select device_id,
       percentile_cont(0.5) within group (order by (received_at - event_time) / 1000.0) as median,
       max(received_at - event_time) / 1000.0 as worst
from punches
where event_time is not null
group by device_id
order by device_id;
