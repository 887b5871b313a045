"""The tables of the audit, and what each raw record came to by them."""

from typing import Final

from attendance.topics import Name

SCHEMA: Final = """
create table raw (partition, offset, event_id, device_id, at, primary key (partition, offset)) without rowid;
create index raw_events on raw (event_id);
create table dropped (partition, offset, event_id, kept_event_id, primary key (partition, offset, event_id))
without rowid;
create table erased (event_id primary key) without rowid;
-- Whose time a person said is wrong. Nothing of that id is kept, and the right one has an outcome of its own.
create table moved (event_id primary key) without rowid;
create table kept_for_nothing (event_id primary key) without rowid;
create table dead_record (partition, offset, at, primary key (partition, offset, at)) without rowid;
create table dead (event_id primary key) without rowid;
create table refused (partition, offset, what, primary key (partition, offset)) without rowid;
create table waiting (look, key, event_id, primary key (look, key)) without rowid;
create index waiting_events on waiting (event_id);
-- What a person discarded while it waited, or by ignoring its device user; what arrived later is not meant.
create table discarded (event_id primary key, at) without rowid;
create table checkin (event_id, partition, offset, at, primary key (event_id, partition, offset)) without rowid;
-- Up to where an earlier audit found every record accounted for. What was so may have lost its outcome to retention.
create table accounted (topic, partition, through, primary key (topic, partition)) without rowid;
create table delivered_by_sink (partition primary key, through) without rowid;
create table gone (topic, at);
create table hole (topic, partition, first, through);
create table delivered (event_id, document, employee, primary key (event_id, document)) without rowid;
create table superseded (event_id, document, primary key (event_id, document)) without rowid;
create table sent_again (event_id primary key) without rowid;
create table copy (of_partition, of_offset, partition, offset, primary key (of_partition, of_offset, partition, offset))
without rowid;
-- What a correction has left of the deliveries. It took over the document, or removed another one.
create view standing as
select * from delivered d where not exists (
    select 1 from superseded s where s.event_id = d.event_id and (s.document = d.document or not exists (
        select 1 from delivered x where (x.event_id, x.document) = (s.event_id, s.document)
    ))
);
-- Offsets are of other records once a topic was made anew: an outcome also names its event, or the time of its record.
create view dropped_record as
select r.partition, r.offset, d.kept_event_id from raw r join dropped d
on (d.partition, d.offset) = (r.partition, r.offset) and d.event_id = coalesce(r.event_id, d.event_id);
create view dead_raw as
select r.partition, r.offset from raw r join dead_record d
on (d.partition, d.offset) = (r.partition, r.offset) and d.at in (-1, r.at);
create view open_checkin as
select c.* from checkin c left join accounted a on a.topic = 'checkins' and a.partition = c.partition
where c.offset >= coalesce(a.through, 0);
create view outcome as
select raw.*, case
    when exists (select 1 from dropped_record d where (d.partition, d.offset) = (raw.partition, raw.offset))
      then 'dropped'
    when exists (select 1 from delivered d where d.event_id = raw.event_id) then 'delivered'
    when exists (select 1 from dead_raw d where (d.partition, d.offset) = (raw.partition, raw.offset))
      then 'dead_lettered'
    when exists (select 1 from waiting w where w.event_id = raw.event_id) then 'waiting'
    when exists (select 1 from dead d where d.event_id = raw.event_id) then 'dead_lettered'
    when exists (select 1 from copy c join dropped_record d on (d.partition, d.offset) = (c.partition, c.offset)
        where (c.of_partition, c.of_offset) = (raw.partition, raw.offset)) then 'dropped'
    when exists (select 1 from copy c join dead_raw d on (d.partition, d.offset) = (c.partition, c.offset)
        where (c.of_partition, c.of_offset) = (raw.partition, raw.offset)) then 'dead_lettered'
    when exists (select 1 from discarded d where d.event_id = raw.event_id and d.at >= raw.at and not exists (
        select 1 from open_checkin c where c.event_id = raw.event_id and c.at > d.at)) then 'discarded_waiting'
    when exists (select 1 from open_checkin c where c.event_id = raw.event_id) then case
        when raw.at < (select max(at) from gone) then 'outcome_gone' else 'undelivered' end
    when exists (select 1 from accounted a where (a.topic, a.partition) = ('raw', raw.partition)
        and raw.offset < a.through) then 'accounted_before'
    when exists (select 1 from checkin c where c.event_id = raw.event_id) then 'accounted_before'
    when raw.at < (select max(at) from gone) then 'outcome_gone'
    else 'undecided' end as what
from raw;
"""


# A copy names the event that was kept. Where none of that id was kept, a punch was lost. Once outcomes were removed,
# only what is newer than the last audit says so.
NOTHING_KEPT: Final = """
select distinct d.kept_event_id from outcome o
join dropped_record d on (d.partition, d.offset) = (o.partition, o.offset)
where not exists (select 1 from delivered x where x.event_id = d.kept_event_id)
  and not exists (select 1 from dead x where x.event_id = d.kept_event_id)
  and not exists (select 1 from waiting x where x.event_id = d.kept_event_id)
  and not exists (select 1 from checkin x where x.event_id = d.kept_event_id)
  and not exists (select 1 from erased x where x.event_id = d.kept_event_id)
  and not exists (select 1 from moved x where x.event_id = d.kept_event_id)
  and not exists (select 1 from discarded x where x.event_id = d.kept_event_id)
  and (not exists (select 1 from gone) or (
    exists (select 1 from raw k where k.event_id = d.kept_event_id) and not exists (
      select 1 from raw k join accounted a on (a.topic, a.partition) = ('raw', k.partition)
      where k.event_id = d.kept_event_id and k.offset < a.through)))
"""
NO_OUTCOME: Final = """event_id not in (select event_id from delivered) and event_id not in (select event_id from dead)
and event_id not in (select event_id from waiting) and event_id not in (select event_id from erased)
and not exists (select 1 from discarded d where d.event_id = c.event_id and d.at >= c.at)"""
"""Of a check-in `c`."""
OLDER: Final = f"""select distinct event_id from open_checkin c where {NO_OUTCOME}
and event_id not in (select event_id from raw where event_id is not null)
and not exists (select 1 from delivered_by_sink s where s.partition = c.partition and c.offset < s.through)"""  # noqa: S608 - only what is written here
"""Check-ins without an outcome whose raw record retention has removed."""
OUTCOMES: Final[frozenset[Name]] = frozenset({"checkins", "dropped", "deliveries", "dead_letters"})
WITHOUT_HOLES: Final[frozenset[Name]] = frozenset({"raw", "checkins", "dead_letters"})
"""Topics in which each offset has its record, unless somebody removed it."""
FOR_EVER: Final = 1 << 62  # milliseconds
