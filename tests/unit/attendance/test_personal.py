"""Which fields are never kept, by the spellings of every vendor."""

import pytest

from attendance.personal import is_never_kept
from attendance.settings import PushSettings

NEVER = {
    "HFSECURITY": "name personName person_name employeeName mobile photo imgBase64 checkImgBase64 imgPath newImgPath "
    "checkImgUrl imgUri feature verifyPwd idCard idcardNum base64",
    "ZKTeco": "Name Passwd Password TMP Tmp Template FPTemplate1 FPTemplate2 UserPic BioPhoto AttPhoto PhotoPath "
    "FileName FP FACE FVEIN templatev10 facetmpv10 BIODATA IDNum IdentityCard",
    "Hikvision": "name employeeName pictureURL FacePicture faceURL fingerData password",
    "BioTime": "first_name last_name nick_name passport photo",
    "files": "Employee_Name Last.Name FULL-NAME 姓名 الاسم Nombre Apellidos Имя",
}
KEPT = (
    *PushSettings().payload_fields,
    *("device_name", "deviceName", "door_name", "readerName", "terminal_alias", "area_alias", "department", "card_no"),
    *("verify_type", "punch_state", "userType", "isPass", "biometricType", "faceFlag", "pwdFlag", "livenessScore"),
    *("emp_code", "Fingerprint ID", "PIN", "personId", "EnNo", "IN/OUT", "Punch State", "Serial Number", "TR"),
)


@pytest.mark.parametrize("vendor", NEVER)
def test_photographs_templates_names_and_passwords_are_known_by_every_spelling(vendor: str) -> None:
    assert [name for name in NEVER[vendor].split(" ") if not is_never_kept(name)] == []


def test_what_says_nothing_of_a_person_may_be_kept() -> None:
    assert [name for name in KEPT if is_never_kept(name)] == []
