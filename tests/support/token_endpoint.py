"""An OAuth token endpoint of a test's own, whose tokens are signed."""

import base64
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs

from signed_tokens import Signer

SECRET = "right"


class TokenEndpoint:
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

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                wanted = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                login = base64.b64decode(self.headers["Authorization"].removeprefix("Basic ")).decode()
                client, _, secret = login.partition(":")
                if wanted["grant_type"] != ["client_credentials"] or secret != SECRET:
                    self._answer(401, {"error": "invalid_client", "error_description": "wrong secret"})
                    return
                endpoint.given += 1
                now = time.time()
                token = signer.token(client, now, now + seconds, **claims)
                self._answer(200, {"access_token": token, "token_type": "Bearer", "expires_in": seconds})

            def _answer(self, status: int, content: dict[str, Any]) -> None:
                body = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/token"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
