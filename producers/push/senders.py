"""What most likely sent a request that push turned away, by its path, its headers and the beginning of its body.

A guess for whoever looks: nothing is decided by it. The words are those of `producers/knocks.py`.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Final

from producers.knocks import BROKEN_HEAD, TLS

LOOKED_AT: Final = 8192
"""Bytes of a body that are looked at."""

_PATHS: Final = (
    ("zkteco", re.compile(r"/iclock(/|$)|/(cdata|getrequest|devicecmd|fdata|edata|rtdata|querydata)(\.\w+)?$")),
    ("hikvision", re.compile(r"^/(isapi|hik)(/|$)")),
    ("hfsecurity", re.compile(r"^/(hf|hfsecurity)(/|$)")),
    ("json", re.compile(r"^/v\d/(events|heartbeat)$|\.attendance_ingest$")),
    ("dahua", re.compile(r"/autoregist(/|$)")),
    ("uniview", re.compile(r"^/lapi/")),
    ("fk", re.compile(r"/(hdata|aidata)\.aspx$")),
    ("aiface", re.compile(r"^/pub/(chat|api)$")),
    ("subscribe", re.compile(r"^/subscribe/")),
)
_BODIES: Final = (
    ("hikvision", re.compile(rb"AccessControllerEvent|EventNotificationAlert")),
    ("dahua", re.compile(rb"Code=AccessControl|_DoorFace_|AccessControlCardRec")),
    ("hfsecurity", re.compile(rb"\b(personSn|recordTimeStr|deviceKey|searchScore|livenessScore)\b")),
    ("subscribe", re.compile(rb"VerifyPush|SnapPush|RecogPush")),
    ("aiface", re.compile(rb'"cmd"\s*:\s*"(reg|sendlog|senduser)"')),
    ("uniview", re.compile(rb"LibMatInfoList|CardInfoList")),
    ("zkteco", re.compile(rb"\A\d{1,24}\t\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\t|\Atime=[^\n]*\tpin=|\A~?DeviceType=")),
    ("json", re.compile(rb'"device_id"\s*:.*"events"\s*:', re.DOTALL)),
)
_AGENTS: Final = (
    ("zkteco", re.compile(r"iclock")),
    ("hikvision", re.compile(r"hikvision")),
    (
        "scanner",
        re.compile(r"scan|zgrab|masscan|nmap|nuclei|nikto|censys|shodan|expanse|palo ?alto|bot\b|spider|crawl"),
    ),
    ("monitor", re.compile(r"kube-probe|prometheus|healthcheck|googlehc|uptime|pingdom|zabbix|check_http|statuscake")),
    ("android", re.compile(r"okhttp|dalvik|android")),
    ("browser", re.compile(r"^mozilla/")),
    ("program", re.compile(r"curl|wget|python|go-http|java|axios|node|postman|httpie|libwww|ruby|php")),
)
_SCANNED: Final = re.compile(
    r"\.(php|env|git|asp|jsp|cgi|bak|sql)\b|/(wp-|cgi-bin|actuator|phpmyadmin|boaform|hnap1|solr|owa|manager|sdk|evox)|\.\."
)


def likely_sender(
    path: str, names: Collection[str] = (), headers: Mapping[str, str] | None = None, body: bytes = b""
) -> str:
    """The word for what most likely sent a request.

    Args:
        path: Its path.
        names: Of the values in its query.
        headers: By names in lower case.
        body: How it begins; empty where that is not known.
    """
    headers, path = headers or {}, path.lower()
    agent = headers.get("user-agent", "").lower()
    terminal = _by_names({name.lower() for name in names}, headers)
    return (
        _first(_PATHS, path)
        or terminal
        or next((sender for sender, clue in _BODIES if clue.search(body[:LOOKED_AT])), None)
        or ("scanner" if _SCANNED.search(path) else None)
        or _first(_AGENTS, agent)
        or "unknown"
    )


def _by_names(query: Collection[str], headers: Mapping[str, str]) -> str | None:
    if "request_code" in headers or "dev_id" in headers:
        return "fk"
    if "sn" in query and not {"table", "options", "pushver", "info"}.isdisjoint(query):
        return "zkteco"
    return "hfsecurity" if "devicekey" in query or "personsn" in query else None


def _first(clues: Iterable[tuple[str, re.Pattern[str]]], text: str) -> str | None:
    return next((sender for sender, clue in clues if clue.search(text)), None)


def broken_head(begins: bytes) -> tuple[str, str, str]:
    """What bytes are that are no head of HTTP.

    Args:
        begins: How they begin.

    Returns:
        The cause, the sender, and why for the log.
    """
    if begins[:2] == b"\x16\x03":
        return TLS, "unknown", "it speaks TLS, and this port does not: HTTPS is on where it should be off"
    if begins[:4] == b"PP\x82\x7d":
        return BROKEN_HEAD, "zkteco", "ZKTeco's own protocol of port 4370, not ADMS"
    if begins[:4] == b"SSH-":
        return BROKEN_HEAD, "scanner", "SSH"
    return BROKEN_HEAD, "unknown", "no head of HTTP that can be read"
