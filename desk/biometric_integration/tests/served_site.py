"""One site of a bench as a WSGI application, at whatever address it is asked. `tests/desk` has gunicorn run it."""

import os

from frappe import app

app._site = os.environ["SITE"]  # noqa: SLF001 - as `bench serve` does
application = app.application_with_statics()
