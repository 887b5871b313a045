"""How a Hikvision terminal is given a name and a password: by digest authentication, or Basic where it has no other.

Firmware words its challenges in many ways, and some has digest authentication turned off. A password that is sent by
Basic without TLS can be read on the way, so a terminal that has asked for a digest before never gets it so.
"""

import re
from collections.abc import Generator, Sequence
from typing import Final
from urllib.request import parse_http_list

import httpx

_SCHEME: Final = re.compile(r"(?:^|,)\s*(Digest|Basic|Bearer|Negotiate|NTLM)(?=[\s,]|$)", re.IGNORECASE)
_ALGORITHMS: Final = frozenset(
    f"{name}{session}" for name in ("MD5", "SHA", "SHA-256", "SHA-512") for session in ("", "-SESS")
)


class Login(httpx.Auth):
    """The credentials of one terminal.

    It keeps the terminal's challenge, so that only the first request is turned away for want of one.

    Args:
        username: The account.
        password: Its password.
        tls: Whether nobody can read the password on the way.
        offers_digest: Whether the terminal has asked for a digest before.
    """

    def __init__(self, username: str, password: str, *, tls: bool, offers_digest: bool) -> None:
        self.offers_digest = offers_digest
        self.uses_basic = False
        self.problem = ""
        """Why no credentials were sent to a terminal that asked for some."""
        self._tls = tls
        self._digest = httpx.DigestAuth(username, password)
        self._basic = httpx.BasicAuth(username, password)

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """See `httpx.Auth`."""
        if self.uses_basic:
            yield from self._basic.auth_flow(request)
            return
        flow = self._digest.auth_flow(request)
        outgoing = next(flow)
        while True:
            response = yield outgoing
            asks_for = "" if response.status_code != httpx.codes.UNAUTHORIZED else self._choose(response)
            try:
                outgoing = flow.send(response)
            except StopIteration:
                break
        if asks_for == "basic":
            self.uses_basic = True
            yield from self._basic.auth_flow(request)

    def _choose(self, response: httpx.Response) -> str:
        """The scheme to go on with, empty for none. A digest's challenge is left as the only one of the response."""
        challenges = _challenges(response.headers.get_list("www-authenticate"))
        digests = [fields for scheme, fields in challenges if scheme == "digest"]
        if digests:
            self.offers_digest = True
            fields = next(filter(_is_known, digests), digests[0])
            response.headers["www-authenticate"] = f"Digest {', '.join(map('='.join, fields.items()))}"
            return "digest"
        if "authorization" in response.request.headers:
            return ""  # it has the credentials, and refuses them
        schemes = sorted({scheme for scheme, _ in challenges})
        if "basic" not in schemes:
            self.problem = f"it asks for {' or '.join(schemes) or 'no known kind of credentials'}, so it was sent none"
        elif self.offers_digest and not self._tls:
            self.problem = "it asked for a digest before and asks for the password itself now, so it was sent none"
        else:
            return "basic"
        return ""


def _challenges(headers: Sequence[str]) -> Sequence[tuple[str, dict[str, str]]]:
    """Each scheme with its fields; some firmware writes several into one header, or names of fields in capitals."""
    found = []
    for header in headers:
        starts = list(_SCHEME.finditer(header))
        ends = [each.start() for each in starts[1:]] + [len(header)]
        for start, end in zip(starts, ends, strict=True):
            pairs = (each.partition("=") for each in parse_http_list(header[start.end() : end]))
            found.append((start[1].lower(), {name.strip().lower(): value.strip() for name, _, value in pairs if value}))
    return found


def _is_known(fields: dict[str, str]) -> bool:
    """Whether this digest can be made."""
    algorithm = fields.get("algorithm", "MD5").strip('"').upper()
    qop = fields.get("qop", "auth").strip('"').replace(" ", "").split(",")
    return algorithm in _ALGORITHMS and "auth" in qop
