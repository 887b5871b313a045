"""What columns are called that could be the user or the time of a punch, as `normalized` writes names."""

import re
from typing import Final

# Not a card's number: a terminal that knows the card sends its user's number.
USERS: Final = frozenset(
    {
        "no", "number", "id", "code", "pin", "user", "userid", "userno", "usernumber", "usercode", "uid",
        "employeeid", "employeeno", "employeenumber", "employeecode", "empid", "empno", "empcode", "empnumber", "ecode",
        "eid", "enno", "enrollno", "enrollid", "enrollnumber", "enrollmentno", "enrollmentid", "acno", "acnumber",
        "badge", "badgeid", "badgeno", "badgenumber", "personid", "personno", "personcode", "personnumber",
        "personnelid", "personnelno", "personnelcode", "personnelnumber", "staffid", "staffno", "staffcode",
        "staffnumber", "workerid", "workerno", "workid", "workno", "workernumber", "jobno", "jobnumber", "idno",
        "idnumber", "payrollid", "payrollno", "payrollnumber", "memberid", "memberno", "biometricid", "biometricno",
        "biometriccode", "fingerid", "fingerprintid", "deviceuserid", "attendanceid", "attendanceno", "studentid",
        "legajo", "matricula", "sicilno", "رقمالموظف", "الرقمالوظيفي", "رقمالبصمة", "الرقم", "کدپرسنلی",
        "工号", "编号", "考勤号码", "登记号码", "人员编号",
    }
)  # fmt: skip
"""Names of columns that could be the user."""
VAGUE: Final = frozenset({"no", "number", "id", "code", "الرقم", "编号"})
"""Those of them that may as well count the rows."""
TIMES: Final = frozenset(
    {
        "time", "datetime", "dateandtime", "timestamp", "punchtime", "punchdatetime", "punchdate", "logdate", "logtime",
        "logdatetime", "checktime", "clocktime", "clockingtime", "eventtime", "eventdatetime", "recordtime",
        "swipetime", "scantime", "transactiontime", "attendancetime", "authenticationtime", "verifytime",
    }
)  # fmt: skip
"""Names of columns that could be the time of a punch."""
SUMMARY: Final = frozenset(
    {
        "in", "out", "intime", "outtime", "timein", "timeout", "firstin", "lastout", "clockin", "clockout", "checkin",
        "checkout", "firstpunch", "lastpunch", "punchrecords", "totalhours", "workhours", "workinghours", "worktime",
        "onduty", "offduty", "timetable", "workedhours", "totalduration",
    }
)  # fmt: skip
"""Names of columns of a report with one row a person and day: nothing says which of its times were punched."""
_TOTAL: Final = re.compile(
    r"(?:(?:grand|sub)[\s-]?)?totals?|sum|toplam|المجموع|مجموع|ال[إا]جمالي|[إا]جمالي|合计|总计", re.IGNORECASE
)


def is_total(text: str) -> bool:
    """Whether a cell says that its row is a sum, as `Total: 12` does and the user `SUM01` does not.

    Args:
        text: The cell.
    """
    match = _TOTAL.match(text)
    return match is not None and not text[match.end() : match.end() + 1].isalnum()
