"""The image's HEALTHCHECK: exit status 0 if the stage of this container answers `/healthz`.

A command that ends by itself has no METRICS_PORT, and nothing to ask.
"""

import os
import sys
from http.client import HTTPConnection, HTTPException

SECONDS = 8
"""The stage itself waits 5 s for its event loop."""


def main() -> int:
    """Ask once."""
    port = int(os.environ.get("METRICS_PORT") or 0)
    if not port:
        return 0
    connection = HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    try:
        connection.request("GET", "/healthz")
        return 0 if connection.getresponse().status == 200 else 1
    except (OSError, HTTPException) as error:
        sys.stderr.write(f"/healthz does not answer: {error}\n")
        return 1
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(main())
