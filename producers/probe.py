"""Which protocol answers at an address. Nothing is changed there, and no credential is sent."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, Protocol

import httpx

TIMEOUT: Final = 3.0  # seconds for each port
MAX_ANSWER: Final = 65_536
_JSON: Final = {"content-type": "application/json; charset=UTF-8"}
_FORM: Final = {"content-type": "application/x-www-form-urlencoded"}


@dataclass(frozen=True, slots=True)
class Finding:
    """What a port was found to be. `adapter` is the one to name in the registry; None where there is none for it."""

    port: int
    what: str
    adapter: str | None = None
    serial: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer, cut to a length that no answer to these questions has."""

    status: int
    challenge: str
    text: str

    def json(self) -> object:
        """The body as JSON; None where it is none."""
        with suppress(ValueError):
            return httpx.Response(200, text=self.text).json()
        return None


class Ask(Protocol):
    """Asks at one port."""

    async def __call__(self, path: str, posted: bytes | None = None) -> Answer | None:
        """GET a path, or POST to it where there is something to post; None where what answers does not speak HTTP."""


Look = Callable[[int, Ask], Awaitable[Finding | None]]


async def lan_api(port: int, ask: Ask) -> Finding | None:
    """The LAN API of HFSECURITY and its relatives, which tells its serial number to everybody."""
    answer = await ask("/getDeviceKey")
    match answer.json() if answer else None:
        case {"success": True, "data": str(serial)}:
            return Finding(port, "LAN API", "hfsecurity", serial)
        case {"success": _, "result": _}:
            return Finding(port, "LAN API", "hfsecurity")
    return None


async def heystar(port: int, ask: Ask) -> Finding | None:
    """HeyStar on a terminal, which asks for a password before it says anything, or refuses in JSON."""
    answer = await ask("/cgi-bin/js/device/get", b"{}")
    if answer and ((answer.status == HTTPStatus.UNAUTHORIZED and "basic" in answer.challenge) or _has_code(answer)):
        return Finding(port, "HeyStar, on the terminal", "hfsecurity")
    return None


async def hf_ims(port: int, ask: Ask) -> Finding | None:
    """The middleware of HFSECURITY. Which verbs it has is known by those that only read; else it is known by its port.

    Terminals push through either; by the new verbs it can be asked for records as well.
    """
    if _has_code(await ask("/api/device/get", b"")):
        return Finding(port, "HF-IMS, HeyStar verbs", "hfsecurity")
    if _has_code(await ask("/api/person/find", b"")):
        return Finding(port, "HF-IMS, old verbs", "hfsecurity")
    return Finding(port, "HF-IMS, by its port", "hfsecurity") if await ask("/") else None


async def mips(port: int, ask: Ask) -> Finding | None:
    """A MIPS or Smart Pass server, which refuses in JSON with a number for its code. Its terminals push."""
    answer = await ask("/interface/exterior/getCheckRecordList")
    match answer.json() if answer else None:
        case {"code": int(), "msg": _}:
            return Finding(port, "MIPS server", "hfsecurity")
    return None


def _has_code(answer: Answer | None) -> bool:
    """Whether an answer is one of HeyStar's or of the middleware's, which have a code of digits, and no other's."""
    if answer is None or answer.status == HTTPStatus.NOT_FOUND:
        return False
    match answer.json():
        case {"code": code}:
            return str(code).isdecimal()
    return False


async def isapi(port: int, ask: Ask) -> Finding | None:
    """ISAPI of Hikvision, which asks for a digest before it says anything."""
    answer = await ask("/ISAPI/System/deviceInfo")
    if answer and ((answer.status == 401 and "digest" in answer.challenge) or "<DeviceInfo" in answer.text):
        return Finding(port, "ISAPI", "hikvision")
    return None


async def biotime(port: int, ask: Ask) -> Finding | None:
    """The REST interface of ZKBioTime, which refuses in JSON."""
    answer = await ask("/iclock/api/terminals/")
    if answer and answer.status in (401, 403) and isinstance(answer.json(), dict):
        return Finding(port, "ZKBioTime REST", "zkbiotime")
    return None


def by_port(what: str, adapter: str | None) -> Look:
    """A protocol that cannot be asked without a session: known by its port alone.

    Args:
        what: What the port is said to be.
        adapter: The adapter to name in the registry; None where there is none for it.
    """

    async def look(port: int, _ask: Ask) -> Finding | None:
        return Finding(port, f"{what}, by its port", adapter)

    return look


LOOKS: Final[Sequence[tuple[int, Sequence[Look]]]] = (
    (80, (isapi, biotime)),
    (443, (isapi, biotime)),
    (4370, (by_port("ZKTeco TCP", "zkteco_tcp"),)),
    (5005, (by_port("FkWeb", None),)),
    (7788, (by_port("WebSocket and JSON", None),)),
    (7792, (by_port("WebSocket and JSON", None),)),
    (8000, (isapi, biotime, by_port("the SDK of Hikvision", None))),
    (8081, (biotime,)),
    (8090, (lan_api, heystar)),
    (8098, (biotime,)),
    (8190, (hf_ims,)),
    (9000, (mips,)),
    (10010, (by_port("the TCP gateway of HF-IMS", None),)),
)
TLS_PORTS: Final = frozenset({443})


async def probe(host: str, looks: Sequence[tuple[int, Sequence[Look]]] = LOOKS) -> list[Finding]:
    """Find out what answers at an address.

    Args:
        host: The address.
        looks: Ports, each with the questions to ask there until one finds something.

    Returns:
        What was found at each port, in their order; a port that nobody listens at is left out.
    """
    # Terminals sign for themselves, and nothing secret is sent.
    async with httpx.AsyncClient(verify=False, trust_env=False, timeout=TIMEOUT) as client:  # noqa: S501 - see above
        found = await asyncio.gather(*(_look(client, host, port, each) for port, each in looks))
    return [finding for finding in found if finding is not None]


async def _look(client: httpx.AsyncClient, host: str, port: int, looks: Sequence[Look]) -> Finding | None:
    try:
        async with asyncio.timeout(TIMEOUT):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError):
        return None
    writer.close()
    address = f"[{host}]" if ":" in host else host
    base = f"{'https' if port in TLS_PORTS else 'http'}://{address}:{port}"

    async def ask(path: str, posted: bytes | None = None) -> Answer | None:
        method, headers = ("GET", {}) if posted is None else ("POST", _JSON if posted else _FORM)
        try:
            async with client.stream(method, f"{base}{path}", content=posted, headers=headers) as response:
                body = bytearray()
                async for chunk in response.aiter_bytes():
                    body += chunk
                    if len(body) > MAX_ANSWER:
                        break
                challenge = response.headers.get("www-authenticate", "").lower()
                return Answer(response.status_code, challenge, body[:MAX_ANSWER].decode(errors="replace"))
        except httpx.HTTPError:
            return None

    for look in looks:
        if finding := await look(port, ask):
            return finding
    return Finding(port, "open, and of no protocol that is known")
