"""Frappe's pages: HTML with the boot data of whoever asks for it, among which the zone of the site stands."""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlencode

import orjson
from fastapi import Response

from sandbox.erpnext.query import Row
from sandbox.erpnext.store import Store
from sandbox.erpnext.users import GUEST, User

_PATHS: Final = frozenset({"app", "login", "me"})
_HTML: Final = {"content-type": "text/html; charset=utf-8"}
_PAGE: Final = """<!DOCTYPE html>
<html data-theme-mode="light" data-theme="light" dir=ltr lang="en">
\t<head>
\t\t<meta charset="UTF-8">
\t\t<title>Frappe</title>
\t</head>
\t<body>
\t\t<div class="main-section"></div>
\t\t<script type="text/javascript">
\t\t\twindow.app = true;
\t\t\tif (!window.frappe) window.frappe = {};

\t\t\tfrappe.boot = BOOT;
\t\t\tfrappe._messages = frappe.boot["__messages"];
\t\t\tfrappe.csrf_token = "0000";
\t\t</script>
\t</body>
</html>
"""


def is_page(path: str) -> bool:
    """Whether a path is that of a page that the stand-in has: `/app` and below, `/login`, `/me`."""
    return path.split("/")[1] in _PATHS


def answer(store: Store, user: User, path: str, headers: Mapping[str, str]) -> Response:
    """What that user gets there: `/app` is for those with a role, `/me` for all who are logged in."""
    headers = {**headers, **_HTML}
    page, guest = path.split("/")[1], user is GUEST
    if page == "app" and guest:
        return Response(b"", 301, {**headers, "location": f"/login?{urlencode({'redirect-to': path})}"})
    if page == "login" and not guest:
        return Response(b"", 301, {**headers, "location": "/app" if user.roles else "/me"})
    permitted = user.roles if page == "app" else not guest if page == "me" else True
    if not permitted:
        return Response(b"<!DOCTYPE html>\n<html><body>Not Permitted</body></html>\n", 403, headers)
    return Response(_page(store, user), 200, headers)


def _page(store: Store, user: User) -> bytes:
    boot = orjson.dumps(_boot(store, user), option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS).decode()
    # Frappe indents by one space.
    boot = re.sub(r"^( +)", lambda spaces: " " * (len(spaces[1]) // 2), boot, flags=re.MULTILINE)
    return _PAGE.replace("BOOT", boot).encode()


def _boot(store: Store, user: User) -> Row:
    """What a client may learn of the site. Only `time_zone.system` is the site's zone; the others are the user's."""
    own = store.user_time_zone(user.name)
    return {
        "__messages": {},
        "sitename": "erp.example.com",
        "sysdefaults": {"setup_complete": 1, "time_zone": own},
        "time_zone": {"system": store.time_zone, "user": own},
        "timezone_info": {"links": {}, "rules": {}, "zones": {}},
        "user": {"name": user.name, "roles": sorted(user.roles)},
        "user_info": {user.name: {"email": user.name, "name": user.name, "time_zone": own}},
    }
