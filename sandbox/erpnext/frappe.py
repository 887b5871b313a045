"""Frappe's REST interface to a site: one request, from its arrival to its answer."""

import asyncio
import base64
import binascii
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl

import orjson
from fastapi import Request, Response

from sandbox.erpnext import attendance, biometric, desk, errors, holidays, meta, user_permissions
from sandbox.erpnext.checkins import Transaction
from sandbox.erpnext.doctypes import ATTENDANCE, CHECKIN, HR_SETTINGS, SHIFT_TYPE
from sandbox.erpnext.errors import FrappeError, Language, Message, html_page
from sandbox.erpnext.knobs import Control, WorkerFailed
from sandbox.erpnext.query import Row, Value, parse_json
from sandbox.erpnext.site import MAX_INSERT_MANY, Site
from sandbox.erpnext.users import GUEST, User

_READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_FOR_GUESTS: Final = frozenset({"ping", "frappe.client.get_time_zone"})


@dataclass(frozen=True)
class Call:
    """What a request asks: who sends it, and its arguments from the query, the form or the JSON body.

    The last of `messages` is for the person who asked, where all goes well.
    """

    user: User
    arguments: Mapping[str, Any]
    messages: list[Message] = field(default_factory=list)

    def document(self) -> Mapping[str, Any]:
        """The document of a create or an update: the arguments themselves, or what `data` among them holds."""
        data = parse_json(self.arguments.get("data"))
        return data if isinstance(data, Mapping) else self.arguments


class Stats:
    """What was asked, and what came of it."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Count from nothing."""
        self._requests: Counter[tuple[str, str]] = Counter()
        self.documents_inserted = 0

    def count(self, method: str, path: str, outcome: str) -> None:
        """One more request to that path; the name of a document in it does not count."""
        endpoint = "/".join(path.split("/")[:4])
        self._requests[f"{method} {endpoint}", outcome] += 1

    def as_dict(self) -> dict[str, Any]:
        """`{"requests": {endpoint: {outcome: count}}, "documents_inserted": count}`."""
        requests: dict[str, dict[str, int]] = {}
        for (endpoint, outcome), count in sorted(self._requests.items()):
            requests.setdefault(endpoint, {})[outcome] = count
        return {"requests": requests, "documents_inserted": self.documents_inserted}


class Frappe:
    """The framework around a site."""

    def __init__(self, site: Site, control: Control, stats: Stats) -> None:
        self._site = site
        self._control = control
        self._stats = stats
        self._series = asyncio.Lock()
        self._methods: dict[str, Callable[[Call], Awaitable[Any]]] = {
            "ping": self._ping,
            "frappe.auth.get_logged_user": self._get_logged_user,
            "frappe.client.get_time_zone": self._get_time_zone,
            "frappe.client.get_list": self._get_list,
            "frappe.client.get_count": self._get_count,
            "frappe.desk.reportview.get_count": self._get_visible_count,
            "frappe.client.get_value": self._get_value,
            "frappe.client.get_single_value": self._get_single_value,
            "frappe.core.doctype.user_permission.user_permission.get_user_permissions": self._get_user_permissions,
            "hrms.api.get_hr_settings": self._get_hr_settings,
            "hrms.hr.doctype.employee_checkin.employee_checkin.bulk_fetch_shift": self._bulk_fetch_shift,
            "biometric_integration.sync.version": self._get_desk_version,
            "biometric_integration.sync.shifts": self._get_desk_shifts,
            "biometric_integration.sync.write_live": self._write_live,
            "biometric_integration.ingest.api.describe": self._describe_ingest,
            "biometric_integration.ingest.api.insert": self._ingest,
            "frappe.client.insert": self._insert,
            "frappe.client.insert_many": self._insert_many,
            "frappe.client.cancel": self._cancel,
            "frappe.client.submit": self._submit,
            "frappe.client.delete": self._delete,
            "frappe.client.rename_doc": self._rename,
            "hrms.hr.doctype.leave_application.leave_application.get_holidays": self._get_holidays,
        }

    async def answer(self, request: Request) -> Response:
        """The answer to a request for a path at or below `/api`, or for one of the pages."""
        headers: dict[str, str] = {}
        try:
            # The order in which Frappe does it: a site in maintenance answers 503 to a wrong key, too.
            self._control.check_available(reading=request.method in _READING)
            arguments = await _arguments(request)
            headers = self._control.rate_headers()
            call = Call(_authenticate(self._site, request.headers.get("authorization", "")), arguments)
            if desk.is_page(request.url.path):
                return desk.answer(self._site, call.user, request.url.path, headers)
            status, content = await self._dispatch(request.method, request.url.path, call)
        except WorkerFailed:
            return html_answer(500)
        except FrappeError as error:
            return self.refusal(error, request.headers.get("accept-language", ""), headers)
        return Response(orjson.dumps(content), status, headers, media_type="application/json")

    def refusal(
        self, error: FrappeError, accept_language: str = "", headers: Mapping[str, str] | None = None
    ) -> Response:
        """The answer that is this error, in the language asked for or else the site's."""
        knobs = self._control.knobs
        asked = accept_language[:2].lower()
        language: Language = "de" if asked == "de" else "en" if asked == "en" else knobs.language
        body = error.body(language, traceback=knobs.allow_error_traceback)
        return Response(body, error.status, {**(headers or {}), **error.headers}, media_type="application/json")

    async def _dispatch(self, verb: str, path: str, call: Call) -> tuple[int, Any]:
        api, *parts = path.strip("/").split("/")
        if parts[:1] == ["v1"]:
            parts = parts[1:]
        match (api, *parts):
            case "api", "method", "run_doc_method":
                return 200, {"docs": [self._run_doc_method(call)]}
            case "api", "method", "frappe.desk.form.load.getdoctype":
                return 200, {"docs": [self._get_doctype(call)]}
            case "api", "method", method:
                answer = await self._call_method(method, call)
                content = {} if answer is None else {"message": answer}
                if call.messages:
                    content["_server_messages"] = call.messages[-1].encode("en")
                return 200, content
            case "api", "resource", doctype:
                if verb == "POST":
                    row = await self._create(call.user, doctype, call.document(), keep_name=True)
                    remark = attendance.remark(row) if doctype == ATTENDANCE else None
                    content = {"_server_messages": remark.encode("en")} if remark else {}
                    return 200, {"data": self._site.shown(doctype, row)} | content
                return 200, {"data": self._site.list_rows(call.user, doctype, call.arguments)}
            case "api", "resource", doctype, name:
                return self._on_document(verb, doctype, name, call)
        raise errors.not_found()

    async def _call_method(self, method: str, call: Call) -> Value:
        biometric.check_method(method, installed=self._control.knobs.desk)
        function = self._methods.get(method)
        if function is None:
            package = method.rpartition(".")[0]
            there = any(known.rpartition(".")[0] == package for known in self._methods)
            raise errors.unknown_method(method, module_is_there=there)
        if call.user is GUEST and method not in _FOR_GUESTS:
            raise errors.login_required(method)
        return await function(call)

    def _get_doctype(self, call: Call) -> Row:
        if call.user is GUEST:
            raise errors.login_required("frappe.desk.form.load.getdoctype")
        if _doctype(call) != CHECKIN:
            raise errors.unknown_doctype(_doctype(call))
        return meta.of_checkins(self._site)

    def _run_doc_method(self, call: Call) -> Row:
        """The document, after the method that is named was called on it."""
        if call.user is GUEST:
            raise errors.login_required("run_doc_method")
        self._control.check_writable()
        doctype, name, method = (str(call.arguments.get(each) or "") for each in ("dt", "dn", "method"))
        document = self._site.document(call.user, doctype, name)
        if (doctype, method) == (CHECKIN, "fetch_shift"):
            return self._site.fetch_shift(call.user, name)
        if (doctype, method) != (SHIFT_TYPE, "process_auto_attendance"):
            raise errors.failed("AttributeError", f"'{doctype.replace(' ', '')}' object has no attribute '{method}'")
        self._site.process_auto_attendance(call.user, name)
        return document

    def _on_document(self, verb: str, doctype: str, name: str, call: Call) -> tuple[int, Any]:
        if verb == "PUT":
            self._control.check_writable()
            row = self._site.update(call.user, doctype, name, call.document())
            return 200, {"data": self._site.shown(doctype, row)}
        if verb == "DELETE":
            self._control.check_writable()
            self._site.delete(call.user, doctype, name)
            return 202, {"data": "ok"}
        return 200, {"data": self._site.document(call.user, doctype, name)}

    async def _create(self, user: User, doctype: str, document: Mapping[str, Any], *, keep_name: bool) -> Row:
        self._control.check_writable()
        if doctype != CHECKIN:
            return self._site.insert(user, doctype, document)
        transaction = self._site.begin(user)
        await self._wait_for_hooks(document)
        transaction.insert(document, keep_name=keep_name)
        [row] = await self._commit(transaction, 1)
        return row

    async def _wait_for_hooks(self, document: Mapping[str, Any]) -> None:
        """Let pass what a document takes, and raise what a hook does. The series is locked meanwhile."""
        async with self._series:
            for each in self._control.trouble_with(document):
                await sleep(each.delay_ms)
                if each.fails:
                    raise each.error()

    async def _commit(self, transaction: Transaction, documents: int) -> list[Row]:
        knobs = self._control.knobs
        await sleep(knobs.race_window_ms + knobs.latency_per_document_ms * documents)
        rows = transaction.commit()
        self._stats.documents_inserted += len(rows)
        return rows

    async def _ping(self, call: Call) -> str:  # noqa: ARG002 - as all methods
        return "pong"

    async def _get_logged_user(self, call: Call) -> str:
        return call.user.name

    async def _get_time_zone(self, call: Call) -> Row:
        return {"time_zone": self._site.default_time_zone(call.user.name)}

    async def _get_list(self, call: Call) -> list[Row] | list[list[Value]]:
        biometric.check_list(call.user, _doctype(call), installed=self._control.knobs.desk)
        rows = self._site.list_rows(call.user, _doctype(call), call.arguments)
        return rows if call.arguments.get("as_dict", True) else [list(row.values()) for row in rows]

    async def _get_desk_version(self, call: Call) -> str:  # noqa: ARG002 - as all methods
        return biometric.VERSION

    async def _get_desk_shifts(self, call: Call) -> list[Row]:
        return biometric.shifts(self._site, call.user)

    async def _write_live(self, call: Call) -> Row:
        self._control.check_writable()
        return biometric.write_live(self._site, call.user, parse_json(call.arguments.get("devices")) or [])

    async def _describe_ingest(self, call: Call) -> Row:
        return biometric.describe_ingest(self._site, call.user)

    async def _ingest(self, call: Call) -> Row:
        self._control.check_writable()
        check_ins = biometric.read_check_ins(parse_json(call.arguments.get("checkins")))

        async def create(document: Mapping[str, Any]) -> Row:
            return await self._create(call.user, CHECKIN, document, keep_name=False)

        return await biometric.ingest(self._site, check_ins, create)

    async def _get_count(self, call: Call) -> int:
        return self._site.count(_doctype(call), call.arguments.get("filters"))

    async def _get_visible_count(self, call: Call) -> int:
        """Unlike the client's, it counts only what the user may see."""
        arguments = {"filters": call.arguments.get("filters"), "limit_page_length": 0}
        return len(self._site.list_rows(call.user, _doctype(call), arguments))

    async def _get_value(self, call: Call) -> Row:
        fields = call.arguments.get("fieldname") or "name"
        if isinstance(fields, str) and not fields.startswith("["):
            fields = [fields]
        return self._site.value(call.user, _doctype(call), fields, call.arguments.get("filters"))

    async def _insert(self, call: Call) -> Row:
        document = parse_json(call.arguments.get("doc")) or {}
        doctype = _doctype_of(document)
        # Unlike `/api/resource`, it chooses the name itself and shows empty fields, too.
        return await self._create(call.user, doctype, document, keep_name=False) | {"doctype": doctype}

    async def _insert_many(self, call: Call) -> list[str]:
        self._control.check_writable()
        documents = parse_json(call.arguments.get("docs"))
        if documents is None:
            raise errors.failed("TypeError", "object of type 'NoneType' has no len()")
        if len(documents) > MAX_INSERT_MANY:
            raise errors.thrown("ValidationError", f"Only {MAX_INSERT_MANY} inserts allowed in one request")
        transaction = self._site.begin(call.user)
        for document in documents:
            doctype = _doctype_of(document)
            if doctype != CHECKIN:
                raise errors.unknown_doctype(doctype)
            await self._wait_for_hooks(document)
            transaction.insert(document)
        return [row["name"] for row in await self._commit(transaction, len(documents))]

    async def _cancel(self, call: Call) -> Row:
        self._control.check_writable()
        doctype = _doctype(call)
        return self._site.cancel(call.user, doctype, str(call.arguments.get("name") or "")) | {"doctype": doctype}

    async def _submit(self, call: Call) -> Row:
        self._control.check_writable()
        document = parse_json(call.arguments.get("doc")) or {}
        return self._site.submit(call.user, document) | {"doctype": _doctype_of(document)}

    async def _get_holidays(self, call: Call) -> int:
        return holidays.count(self._site, call.arguments)

    async def _get_single_value(self, call: Call) -> Value:
        return self._site.single_value(call.user, _doctype(call), str(call.arguments.get("field") or ""))

    async def _get_user_permissions(self, call: Call) -> dict[str, list[Row]]:
        return user_permissions.of(self._site, call.user)

    async def _get_hr_settings(self, call: Call) -> Row:  # noqa: ARG002 - as all methods
        fields = ("allow_employee_checkin_from_mobile_app", "allow_geolocation_tracking")
        settings = next(self._site.rows(HR_SETTINGS))
        return {field: settings[field] for field in fields}

    async def _bulk_fetch_shift(self, call: Call) -> None:
        self._control.check_writable()
        self._site.bulk_fetch_shift(call.user, parse_json(call.arguments.get("checkins")) or [])

    async def _delete(self, call: Call) -> None:
        self._control.check_writable()
        self._site.delete(call.user, _doctype(call), str(call.arguments.get("name") or ""))

    async def _rename(self, call: Call) -> str:
        self._control.check_writable()
        old, new = (str(call.arguments.get(each) or "") for each in ("old_name", "new_name"))
        merge = str(call.arguments.get("merge", "")).lower() in {"1", "true", "yes"}
        self._site.rename(call.user, _doctype(call), old, new, merge=merge)
        text = f"Document renamed from <strong>{old}</strong> to <strong>{new}</strong>"
        call.messages.append(Message(text, green=True, alert=True))
        return new


def html_answer(status: int, text: str = "") -> Response:
    """What a server in front of Frappe answers."""
    # A header rather than the media type, to which the framework would add the character set.
    return Response(html_page(status, text), status, {"content-type": "text/html"})


async def sleep(milliseconds: float) -> None:
    """Let that time pass; none at all takes none, not even a turn of the event loop."""
    if milliseconds:
        await asyncio.sleep(milliseconds / 1000)


async def _arguments(request: Request) -> dict[str, Any]:
    body = await request.body()
    arguments: dict[str, Any] = dict(request.query_params)
    if request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        return arguments | dict(parse_qsl(body.decode(), keep_blank_values=True))
    given = parse_json(body.decode(errors="replace")) if body else {}
    return arguments | given if isinstance(given, dict) else arguments


def _authenticate(site: Site, header: str) -> User:
    """The user of an `Authorization` header, which is Frappe's own or Basic; a guest without one."""
    scheme, _, value = header.partition(" ")
    if not value:
        return GUEST
    scheme = scheme.lower()
    if scheme == "basic":
        try:
            value = base64.b64decode(value, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError) as error:
            raise errors.authentication() from error
    if scheme not in {"basic", "token"}:
        raise errors.authentication()
    key, _, secret = value.partition(":")
    return site.user(key, secret)


def _doctype(call: Call) -> str:
    return str(call.arguments.get("doctype") or "")


def _doctype_of(document: Mapping[str, Any]) -> str:
    if not document.get("doctype"):
        raise errors.failed("ValueError", '"doctype" is a required key')
    return str(document["doctype"])
