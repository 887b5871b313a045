"""The audit: every raw record and its outcome, and whether ERPNext holds what was delivered."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import datetime

import structlog

from attendance.erpnext import ErpnextClient
from attendance.errors import KafkaUnavailable, ZoneInDoubt
from attendance.settings import ErpnextSettings
from attendance.site import site_of
from attendance.times import now
from operations.asked import Asked, in_no_fleet
from operations.audit_accounts import Accounts, write_accounts
from operations.audit_report import NAMED, Report
from operations.audit_tables import AuditTables
from operations.audit_topics import TopicsLook
from operations.erpnext_repairs import NO_REPAIRS, Change, Repairs, make_repairs
from operations.log import DryRun, Log
from operations.site.zone import the_sites_zone


async def audit(  # noqa: PLR0913 - what the command can be asked
    log: Log,
    *,
    since: datetime | None = None,
    device: str | None = None,
    in_fleet: Callable[[str], bool] = in_no_fleet,
    erpnext: ErpnextSettings | None = None,
    repair: bool = False,
    including_deleted: bool = False,
    repairs: Repairs = NO_REPAIRS,
    named: int = NAMED,
) -> Report:
    """Compare the raw topic with its outcomes and, where `erpnext` is given, the deliveries with ERPNext.

    Args:
        log: The topics.
        since: Only punches that arrived since then; None for all that are there.
        device: Only this device's punches; None for all.
        in_fleet: Whether the fleet file has a device.
        erpnext: The site that is asked for what was delivered; None asks none.
        repair: Whether to send again what is missing.
        including_deleted: Whether also what somebody deleted in ERPNext, or may have deleted there.
        repairs: What else is to be repaired in ERPNext, and whether anything is done or sent at all.
        named: How many ids of each problem are listed at most; -1 for all.

    Raises:
        KafkaUnavailable: Kafka does not answer, or a topic is missing.
        TargetUnavailable: ERPNext does not answer.
        AccessDenied: ERPNext does not let us look.
    """
    if repairs.dry_run:
        log = DryRun(log)
    asked = Asked(since, None, () if device is None else (device,), in_fleet)
    if not_there := await asked.not_there(log, ("raw", "checkins", "dead_letters")):
        return Report(not_there=not_there)
    accounts, look, began = Accounts(), TopicsLook(), now()
    await accounts.read(log)
    await look.begin(log, accounts)
    with AuditTables() as tables:
        await tables.fill(log, since, device, look, accounts)
        changes: list[Change] | None = None
        if erpnext is not None:
            with closing(ErpnextClient(erpnext)) as client:
                tables.rows.look_up(client, await _zone(log, client, erpnext))
                if repairs.any:
                    changes = []
                    async for change in make_repairs(log, client, tables.rows, repairs, since):
                        repairs.report(change)
                        changes.append(change)
        report = replace(
            tables.report(whole=since is None, named=named),
            changes=changes,
            faults=look.faults(began),
            configuration=[*await log.configuration_faults()],
            accepted=[loss for _, loss in accounts.losses],
            adoptions=[adoption for _, adoption in accounts.adoptions],
            counted_from=look.counted_from(),
        )
        if since is None and device is None:
            await _write(log, accounts, began, tables, look)
        if not repair:
            return report
        sent = await tables.repair(log, since, including_deleted=including_deleted)
        return replace(report, sent_again=sent)


async def _write(log: Log, accounts: Accounts, began: datetime, tables: AuditTables, look: TopicsLook) -> None:
    try:
        await write_accounts(log, accounts, began, tables.done(), look.begins())
    except KafkaUnavailable as error:
        structlog.get_logger(__name__).warning("Could not write the accounts of the audit.", error=str(error))


async def _zone(log: Log, client: ErpnextClient, erpnext: ErpnextSettings) -> str | None:
    """The zone of the site; None while that is in doubt."""
    try:
        return await the_sites_zone(log, client, site_of(erpnext.url))
    except ZoneInDoubt as error:
        structlog.get_logger(__name__).warning("The zone of ERPNext is in doubt.", error=str(error))
        return None
