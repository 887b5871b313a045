"""The `console` commands: the pages for HR and IT, and who may use them."""

import asyncio
import sys
from collections.abc import Sequence
from datetime import timedelta
from importlib.util import find_spec
from typing import Annotated, Final

import typer

from attendance.errors import ConfigurationError
from attendance.health import STARTING
from attendance.records.console_user import Role
from attendance.registry import Registry
from attendance.settings import ErpnextSettings
from attendance.times import format_seconds, now
from ledger.settings import LedgerSettings
from operations.log import Skipped
from punchstream.commands.arguments import kafka_log, known_devices, who
from punchstream.commands.ledger_database import open_database
from punchstream.commands.settings import is_set
from punchstream.commands.stages import begin, topics_checked
from punchstream.output import AsCsv, AsJson, print_records, say, say_skipped

app = typer.Typer(help="The console: pages for HR and IT in a browser.", invoke_without_command=True)
user = typer.Typer(help="Who may use the console.", no_args_is_help=True)
token = typer.Typer(help="Tokens by which programs use the console's API.", no_args_is_help=True)
app.add_typer(user, name="user")
app.add_typer(token, name="token")

Name = Annotated[str, typer.Argument(help="By which they sign in.")]
FromInput = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from standard input. Otherwise one is made.")
]
RoleName = Annotated[Role, typer.Option("--role", help="What they may do.")]
SiteNames = Annotated[
    list[str] | None, typer.Option("--site", help="A site that they see; again for each. Without it every site.")
]
_USER: Final = ("name", "role", "sites", "disabled", "changed_at", "changed_by")
_LIBRARIES: Final = ("alembic", "argon2", "authlib", "babel", "jinja2", "joserfc", "sqlalchemy")
_TOKEN: Final = ("id", "name", "role", "sites", "expires_at", "made_at", "made_by")


@app.callback()
def console(context: typer.Context) -> None:
    """Serve the console, or change who may use it.

    Without a command it serves the pages. They show the ledger of LEDGER_URL, which `punchstream ledger` keeps.
    """
    _refuse_without_libraries()
    if context.invoked_subcommand is not None:
        return
    from console.identity.settings import SignInSettings
    from console.identity.ways import Ways
    from console.server import serve
    from console.settings import ConsoleSettings

    common, metrics = begin("console")
    metrics.ready(STARTING, "the console does not know yet who may use it")
    settings, registry = ConsoleSettings.load(), Registry.load(common)
    ways = Ways(SignInSettings.load(), settings.url)
    database = open_database(LedgerSettings.load())
    erpnext = ErpnextSettings.load() if is_set("ERPNEXT_URL") else None
    kafka = topics_checked("console")
    database.prepare()
    serve(kafka, settings, ways, database, registry, metrics, erpnext)


@user.command("add")
def add(
    name: Name,
    *,
    role: Annotated[Role | None, typer.Option(help="What they may do.")] = None,
    site: SiteNames = None,
    password_stdin: FromInput = False,
) -> None:
    """Let somebody use the console. A password that is made here is shown once.

    Without --role the first is an administrator, and each one after that a viewer.
    """
    from operations.console_users import add_user, new_password

    skipped = Skipped()
    password = _typed() if password_stdin else new_password()
    _say_unknown(site)
    made = asyncio.run(add_user(kafka_log("console"), name, password, who(), skipped, role=role, sites=site or None))
    say_skipped(skipped)
    shown = "" if password_stdin else f" The password, shown once: {password}"
    say(f"{name} may use the console as {made.role}.{shown}")


def _say_unknown(sites: Sequence[str] | None) -> None:
    """Say which sites no device is of. An account may be made before its site is, so that is no error."""
    known = {device.site for device in known_devices()} if sites else set()
    for each in sites or ():
        if each not in known:
            say(f"No device of the fleet is of site {each} now; nothing of another spelling is shown.", err=True)


@user.command("list")
def list_users(*, as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """Show who may use the console."""
    from operations.console_users import read_console_users

    skipped = Skipped()
    known = asyncio.run(read_console_users(kafka_log("console"), skipped))
    say_skipped(skipped)
    rows = [
        {
            "name": each.name,
            "role": each.role,
            "sites": _sites(each.sites),
            "disabled": each.disabled,
            "changed_at": format_seconds(each.changed_at),
            "changed_by": each.changed_by,
        }
        for each in known.all()
    ]
    print_records(_USER, rows, as_json=as_json, as_csv=as_csv)


@user.command("role")
def role(
    name: Name,
    role: Annotated[Role, typer.Argument(metavar="ROLE", help="viewer, hr, it or administrator.")],
    *,
    site: SiteNames = None,
) -> None:
    """Give somebody another role, and the sites that they see. Their sessions go on with it."""
    from operations.console_users import change_role

    skipped = Skipped()
    _say_unknown(site)
    asyncio.run(change_role(kafka_log("console"), name, who(), skipped, role=role, sites=site or None))
    say_skipped(skipped)
    say(f"{name} is {role} now.")


@user.command("password")
def password(name: Name, *, password_stdin: FromInput = False) -> None:
    """Give somebody another password, and end their sessions. One that is made here is shown once."""
    from operations.console_users import change_password, new_password

    skipped = Skipped()
    given = _typed() if password_stdin else new_password()
    asyncio.run(change_password(kafka_log("console"), name, given, who(), skipped))
    say_skipped(skipped)
    say(f"{name} has another password.{'' if password_stdin else f' It is shown once: {given}'}")


@user.command("disable")
def disable(name: Name) -> None:
    """Keep somebody out, and end their sessions."""
    _set_disabled(name, disabled=True)
    say(f"{name} may not use the console any more.")


@user.command("enable")
def enable(name: Name) -> None:
    """Let somebody in again."""
    _set_disabled(name, disabled=False)
    say(f"{name} may use the console again.")


@user.command("remove")
def remove(name: Name) -> None:
    """Remove somebody, and end their sessions."""
    from operations.console_users import remove_user

    skipped = Skipped()
    asyncio.run(remove_user(kafka_log("console"), name, skipped))
    say_skipped(skipped)
    say(f"{name} is removed.")


@token.command("add")
def add_a_token(
    name: Annotated[str, typer.Argument(help="What it is for.")],
    *,
    role: RoleName = "viewer",
    site: SiteNames = None,
    days: Annotated[int | None, typer.Option(min=1, help="So long it is good. Without it for ever.")] = None,
) -> None:
    """Make a token. It is shown once."""
    from operations.console_users import add_token

    _say_unknown(site)
    until = None if days is None else now() + timedelta(days=days)
    _entry, text = asyncio.run(
        add_token(kafka_log("console"), name, who(), role=role, sites=site or None, expires_at=until)
    )
    say(f"The token for {name}, shown once:")
    say(text)


@token.command("list")
def list_tokens(*, as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """Show which tokens there are, without their text."""
    from operations.console_users import read_console_users

    skipped = Skipped()
    known = asyncio.run(read_console_users(kafka_log("console"), skipped))
    say_skipped(skipped)
    rows = [
        {
            "id": each.id,
            "name": each.name,
            "role": each.role,
            "sites": _sites(each.sites),
            "expires_at": None if each.expires_at is None else format_seconds(each.expires_at),
            "made_at": format_seconds(each.made_at),
            "made_by": each.made_by,
        }
        for each in known.tokens()
    ]
    print_records(_TOKEN, rows, as_json=as_json, as_csv=as_csv)


@token.command("remove")
def remove_a_token(id_: Annotated[str, typer.Argument(metavar="ID", help="As `token list` shows it.")]) -> None:
    """Remove a token: it is refused from then on."""
    from operations.console_users import remove_token

    skipped = Skipped()
    removed = asyncio.run(remove_token(kafka_log("console"), id_, skipped))
    say_skipped(skipped)
    say(f"The token for {removed.name} is removed.")


def _sites(sites: Sequence[str] | None) -> str:
    return "every one" if sites is None else ", ".join(sites)


def _set_disabled(name: str, *, disabled: bool) -> None:
    from operations.console_users import set_disabled

    skipped = Skipped()
    asyncio.run(set_disabled(kafka_log("console"), name, who(), skipped, disabled=disabled))
    say_skipped(skipped)


def _typed() -> str:
    return sys.stdin.readline().rstrip("\r\n")


def missing_libraries() -> list[str]:
    """What the console needs and is not installed."""
    return [name for name in _LIBRARIES if find_spec(name) is None]


def _refuse_without_libraries() -> None:
    if missing := missing_libraries():
        raise ConfigurationError(f"the console needs {', '.join(missing)}: pip install 'punchstream[console,ledger]'")
