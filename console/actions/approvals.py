"""Devices that ask to be let in: letting them in, and taking them from the list."""

from collections.abc import Sequence

from attendance.errors import KafkaUnavailable
from attendance.fleet_topic import CONSOLE
from attendance.records.terminals import PendingDevice
from console.acting import Refused, recorded
from console.actions.fleet import MOST, changing, check_is_ours, check_site
from console.context import Context
from console.language import marked as _
from console.rights import Actor
from operations import approvals
from operations.approvals import Approval
from operations.devices import still_pending
from operations.log import Skipped


def pending(context: Context, actor: Actor) -> list[PendingDevice]:
    """The devices that ask to be let in, the likeliest first.

    One whose entry has another address is only for those who see its site.

    Args:
        context: Of the console.
        actor: Who asks.
    """
    registry = context.registry
    found = still_pending(context.terminals, registry)
    devices = ((each, registry.get(each.device_id) if each.device_id else None) for each in found)
    return [each for each, device in devices if device is None or actor.sees(device.site)]


async def approve(
    context: Context, actor: Actor, serials: Sequence[str], adapter: str | None, approval: Approval
) -> list[str]:
    """Let devices in: all of them, or none.

    Args:
        context: Of the console.
        actor: Who does it.
        serials: Their serial numbers.
        adapter: Their protocol; None for that with which each asks.
        approval: What is approved.

    Returns:
        Their device_ids.

    Raises:
        Refused: one does not ask, or its entry is another source's, or the fleet would be wrong.
        KafkaUnavailable: Kafka does not answer; each may be let in or not.
    """
    if not context.registry.topic.caught_up.is_set():
        # The fleet file of this machine would be changed instead.
        raise KafkaUnavailable("the fleet topic is not read yet")
    asked = _asked(context, actor, serials)
    for each in asked:
        if each.device_id is not None:
            check_is_ours(context, each.device_id)
    if any(each.device_id is None for each in asked):
        if not approval.site:
            raise Refused(_("Say at which site they stand."))
        check_site(context, actor, approval.site)
    about = {"serial": ", ".join(dict.fromkeys(serials)), **({"site": approval.site} if approval.site else {})}
    async with changing(context, actor, "device.approve", about) as ending:
        let_in = await approvals.approve(
            context.log,
            context.registry,
            Skipped(),
            serials=serials,
            adapter=adapter,
            approval=approval,
            by=actor.name,
            source=CONSOLE,
        )
        ending.result = ", ".join(let_in)
    return let_in


async def forget(context: Context, actor: Actor, serials: Sequence[str]) -> int:
    """Take devices from the list. One that comes again is listed again.

    Args:
        context: Of the console.
        actor: Who does it.
        serials: Their serial numbers.

    Returns:
        How many were taken from the list.

    Raises:
        Refused: one is not on the list.
        KafkaUnavailable: Kafka does not answer; each may be there or not.
    """
    asked = _asked(context, actor, serials)
    async with recorded(context, actor, "device.forget", {"serial": ", ".join(dict.fromkeys(serials))}):
        await approvals.forget(context.log, asked)
    return len(asked)


def _asked(context: Context, actor: Actor, serials: Sequence[str]) -> list[PendingDevice]:
    if not serials:
        raise Refused(_("Choose at least one device."))
    if len(serials) > MOST:
        raise Refused(_("Choose at most %(most)s devices at a time."), most=MOST)
    wanted = set(serials)
    found = [each for each in pending(context, actor) if each.serial in wanted]
    if gone := wanted - {each.serial for each in found}:
        raise Refused(_("%(serial)s does not ask to be let in any more."), serial=min(gone))
    return found
