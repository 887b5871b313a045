"""An OpenID provider of a test's own on 127.0.0.1, which can be made to lie."""

import base64
import secrets
import time
from collections.abc import Callable
from hashlib import sha256
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

from json_server import JsonHandler, JsonServer
from signed_tokens import Signer

CLIENT: Final = "punchstream"
SECRET: Final = "the client's secret"
EMAIL: Final = "fatima@example.com"


class OpenIdServer(JsonServer):
    """Gives an ID token for each code, once, to the client that knows the secret and what the code was asked with.

    Attributes:
        url: The issuer.
        claims: What its ID tokens say beside, or instead of, what is right. None leaves a claim out.
        metadata: What it says of itself beside, or instead of, what is right.
        forge: Makes another token of the one that is right.
        asked: The paths of the requests that it had.
    """

    def __init__(self, signer: Signer) -> None:
        """Begins to answer in a `with`.

        Args:
            signer: Has the key of the tokens.
        """
        self.claims: dict[str, object] = {}
        self.metadata: dict[str, object] = {}
        self.forge: Callable[[str], str] = str
        self.asked: list[str] = []
        self.signer = signer
        self._codes: dict[str, dict[str, str]] = {}
        provider, keys = self, signer.key_set()

        class Handler(JsonHandler):
            def do_GET(self) -> None:  # noqa: N802 - the library calls it so
                provider.asked.append(self.path)
                documents = {"/.well-known/openid-configuration": provider._said(), "/keys": keys}
                found = documents.get(self.path)
                self.answer(200 if found else 404, found or {})

            def do_POST(self) -> None:  # noqa: N802 - the library calls it so
                provider.asked.append(self.path)
                form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                login = base64.b64decode(self.headers.get("Authorization", "").removeprefix("Basic ")).decode()
                self.answer(*provider._exchanged({key: value[0] for key, value in form.items()}, login))

        super().__init__(Handler)

    def sign_in(self, address: str, **changes: str) -> str:
        """Somebody signs in at the address to which they were sent.

        Args:
            address: With what the client asks for.
            changes: What the answer says instead of what is right.

        Returns:
            Path and query to which the browser is sent back.
        """
        parts = urlsplit(address)
        assert f"{parts.scheme}://{parts.netloc}{parts.path}" == f"{self.url}/authorize"
        asked = {key: value[0] for key, value in parse_qs(parts.query).items()}
        assert asked["response_type"] == "code"
        assert asked["code_challenge_method"] == "S256"
        assert asked["client_id"] == CLIENT
        code = secrets.token_urlsafe()
        self._codes[code] = asked
        answer = {"code": code, "state": asked["state"], "iss": self.url} | changes
        return f"{urlsplit(asked['redirect_uri']).path}?{urlencode(answer)}"

    def _said(self) -> dict[str, Any]:
        said = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "keys"}
        addresses = {key: f"{self.url}/{path}" for key, path in said.items()}
        return {"issuer": self.url, **addresses, "authorization_response_iss_parameter_supported": True} | self.metadata

    def _exchanged(self, form: dict[str, str], login: str) -> tuple[int, dict[str, Any]]:
        client, _, secret = (unquote(each) for each in login.partition(":"))
        if (client, secret) != (CLIENT, SECRET):
            return 401, {"error": "invalid_client"}
        asked = self._codes.pop(form["code"], None)
        challenge = base64.urlsafe_b64encode(sha256(form["code_verifier"].encode()).digest()).rstrip(b"=").decode()
        if (
            asked is None
            or form["redirect_uri"] != asked["redirect_uri"]
            or form["grant_type"] != "authorization_code"
            or challenge != asked["code_challenge"]
        ):
            return 400, {"error": "invalid_grant"}
        at = time.time()
        claims = {"iss": self.url, "aud": CLIENT, "nonce": asked["nonce"], "email": EMAIL, "email_verified": True}
        token = self.signer.token("subject-1", at, at + 300, **claims | self.claims)
        return 200, {"access_token": "x", "token_type": "Bearer", "id_token": self.forge(token)}
