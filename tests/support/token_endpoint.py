"""An OAuth token endpoint of a test's own, whose tokens are signed."""

import base64
import time
from urllib.parse import parse_qs

from json_server import JsonHandler, JsonServer
from signed_tokens import Signer

SECRET = "right"


class TokenEndpoint(JsonServer):
    """Gives a token to each client that knows the secret; the client's id is the name of the principal."""

    def __init__(self, signer: Signer, seconds: float, **claims: object) -> None:
        """Begins to answer in a `with`.

        Args:
            signer: Has the key of the tokens.
            seconds: How long a token is valid.
            claims: What its tokens say beside, or instead of, what is right.
        """
        self.given = 0
        endpoint = self

        class Handler(JsonHandler):
            def do_POST(self) -> None:  # noqa: N802 - the library calls it so
                wanted = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                login = base64.b64decode(self.headers["Authorization"].removeprefix("Basic ")).decode()
                client, _, secret = login.partition(":")
                if wanted["grant_type"] != ["client_credentials"] or secret != SECRET:
                    self.answer(401, {"error": "invalid_client", "error_description": "wrong secret"})
                    return
                endpoint.given += 1
                now = time.time()
                token = signer.token(client, now, now + seconds, **claims)
                self.answer(200, {"access_token": token, "token_type": "Bearer", "expires_in": seconds})

        super().__init__(Handler)
        self.url += "/token"
