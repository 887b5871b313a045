"""The page of Frappe's desk: HTML with the boot data of whoever asks for it."""

from typing import Final

import orjson

from sandbox.erpnext.query import Row
from sandbox.erpnext.store import Store
from sandbox.erpnext.users import User

PATHS: Final = frozenset({"app", "desk"})
"""Where it is: `/app`, and what lies below."""

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


def page(store: Store, user: User) -> bytes:
    """The page for that user."""
    boot = orjson.dumps(_boot(store, user), option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS).decode()
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
