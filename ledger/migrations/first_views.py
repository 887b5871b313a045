"""The first views of the ledger. Each column that needs another table asks it by an index, for one row."""

from typing import Final

_OF_EVENT: Final = "event_id = r.event_id"
_NEWEST: Final = "order by {at} desc, kafka_partition desc, kafka_offset desc limit 1"


def _newest_checkin(column: str) -> str:
    return f"(select {column} from checkins where {_OF_EVENT} {_NEWEST.format(at='decided_at')})"  # noqa: S608 - only our words


def _newest_delivery(column: str) -> str:
    return f"(select {column} from deliveries where {_OF_EVENT} {_NEWEST.format(at='delivered_at')})"  # noqa: S608 - only our words


def _dropped(column: str, of: str = "r.kafka_partition = raw_partition and r.kafka_offset = raw_offset") -> str:
    # A place is another record's once a topic was made anew: an outcome also names its event.
    return (
        f"(select {column} from dropped where {of} and event_id = coalesce(r.event_id, event_id)"  # noqa: S608 - only our words
        " order by kafka_partition, kafka_offset limit 1)"
    )


_COPY: Final = (
    "(raw_partition, raw_offset) in (select kafka_partition, kafka_offset from raw_records c"
    " where c.event_id = r.event_id and c.copy_partition = r.kafka_partition and c.copy_offset = r.kafka_offset)"
)
_RAW_LETTER: Final = (
    "failed_topic = 'raw.v1' and failed_partition = r.kafka_partition and failed_offset = r.kafka_offset"
    " and coalesce(failed_stored_at, r.stored_at) = r.stored_at"
)
_COPY_LETTER: Final = (
    "failed_topic = 'raw.v1' and (failed_partition, failed_offset) in (select kafka_partition, kafka_offset"
    " from raw_records c where c.event_id = r.event_id and c.copy_partition = r.kafka_partition"
    " and c.copy_offset = r.kafka_offset)"
)
_LATER_LETTER: Final = f"{_OF_EVENT} and coalesce(failed_topic, '') <> 'raw.v1'"


def _letter(column: str, which: str) -> str:
    return f"(select {column} from dead_letters where {which} {_NEWEST.format(at='stored_at')})"  # noqa: S608 - only our words


_DISCARD: Final = f"{_OF_EVENT} and stored_at >= r.stored_at"

_OUTCOME: Final = f"""case
when exists {_dropped("1")} then 'dropped'
when exists {_newest_delivery("1")} then 'delivered'
when exists {_letter("1", _RAW_LETTER)} then 'dead_lettered'
when exists (select 1 from waiting where {_OF_EVENT}) then 'waiting'
when exists {_letter("1", _LATER_LETTER)} then 'dead_lettered'
when exists {_dropped("1", _COPY)} then 'dropped'
when exists {_letter("1", _COPY_LETTER)} then 'dead_lettered'
when exists (select 1 from discards d where {_OF_EVENT} and stored_at >= r.stored_at and not exists
  (select 1 from checkins c where c.event_id = r.event_id and c.decided_at > d.stored_at)) then 'discarded_waiting'
when exists (select 1 from checkins where {_OF_EVENT}) then 'undelivered'
else 'undecided' end"""  # noqa: S608 - only our words

_WAITING: Final = f"from waiting where {_OF_EVENT} {_NEWEST.format(at='waiting_since')}"

_REASON: Final = f"""case outcome
when 'dropped' then coalesce({_dropped("reason")}, {_dropped("reason", _COPY)})
when 'dead_lettered' then
  coalesce({_letter("reason", _RAW_LETTER)}, {_letter("reason", _LATER_LETTER)}, {_letter("reason", _COPY_LETTER)})
when 'waiting' then (select reason {_WAITING}) end"""

_DECIDED_AT: Final = f"""case outcome
when 'dropped' then coalesce({_dropped("decided_at")}, {_dropped("decided_at", _COPY)})
when 'dead_lettered' then
  coalesce({_letter("stored_at", _RAW_LETTER)}, {_letter("stored_at", _LATER_LETTER)},
    {_letter("stored_at", _COPY_LETTER)})
when 'waiting' then (select waiting_since {_WAITING})
when 'discarded_waiting' then (select max(stored_at) from discards where {_DISCARD})
else {_newest_checkin("decided_at")} end"""  # noqa: S608 - only our words

VIEWS: Final = {
    "punches": f"""select r.*,
{_REASON} as reason,
case outcome when 'dropped' then coalesce({_dropped("kept_event_id")}, {_dropped("kept_event_id", _COPY)}) end
  as kept_event_id,
coalesce({_newest_checkin("employee")}, (select employee {_WAITING})) as employee,
{_DECIDED_AT} as decided_at,
case outcome when 'delivered' then {_newest_delivery("delivered_at")} end as delivered_at,
case outcome when 'delivered' then {_newest_delivery("document")} end as document
from (select kafka_partition, kafka_offset, event_id, device_id, device_user_id, site, event_type, event_time,
  received_at, stored_at, {_OUTCOME} as outcome from raw_records r) r""",  # noqa: S608 - only our words
    "corrections": """select c.event_id, c.supersedes, c.employee, c.device_id, c.device_user_id, c.event_time,
c.decided_at, c.kafka_partition, c.kafka_offset from checkins c where c.supersedes is not null""",
    "late": """select d.event_id, d.employee, d.document, d.delivered_at, d.late_shift_type, d.late_date,
d.kafka_partition, d.kafka_offset from deliveries d where d.is_late""",
    "actions": """select 'dead letter' as of_what, a.action, a.letter_partition, a.letter_offset, l.event_id,
l.device_id, l.reason, a.done_at, a.done_by, a.note from dead_letter_actions a left join dead_letters l
on l.kafka_partition = a.letter_partition and l.kafka_offset = a.letter_offset
union all select 'waiting punch', 'discarded', null, null, d.event_id, d.device_id, null, d.done_at, d.done_by, d.note
from discards d""",
    "device_days": """select device_id, event_time / 86400000 as day, count(*) as records,
count(distinct event_id) as punches, count(distinct device_user_id) as device_users,
min(event_time) as first_event_time, max(event_time) as last_event_time, max(stored_at) as last_stored_at
from raw_records where event_time is not null group by device_id, event_time / 86400000""",
}
"""By name the query of each view."""
