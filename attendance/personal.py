"""Fields that are never kept, by any spelling: photographs, templates, names, passwords, identity cards."""

import re
from functools import lru_cache
from typing import Final

# Of a name that is spelled with capitals, signs or spaces only its letters and digits count, in lower case.
_SIGNS: Final = re.compile(r"[\W_]+")

_PASSWORDS: Final = re.compile(r"passw|passcode|passphrase|^pass$|pwd(?!flag)|^pincode$|secret|kennwort|contrase|senha")
_PICTURES: Final = re.compile(
    r"photo|picture|image|portrait|avatar|selfie|thumbnail|snapshot|base64|jpe?g|^pic|pic(?:s|no|url|path|data|name)?$"
    r"|^img|img(?:s|url|path|data|name|uri)?$|^foto|foto$"
)
_TEMPLATES: Final = re.compile(
    r"templa|^tmp|tmp$|fingerprint(?!id|no|num|code)|fingerdata|fingervein|finger(?:s|tmp)?\d*$|fptemp|^fp\d*$|fvein|palm(?:s|vein|data|print)?$"
    r"|^faces?$|face(?:data|v\d+|tmp\w*|feature|vector|embedding|id|url|path|pic|info)$|feature|minutiae|embedding|eigen"
    r"|^iris|biodata|biometricdata|biometrictemplate|^vector$|descriptor|^vein"
)
# Where a device knows nobody otherwise, such a number is the user.
_CARDS: Final = re.compile(
    r"^idcard(?:num|no|number|info)?$|^identitycard|^citizenid|^nationalid|passport|^iqama|^certificate(?:number|no|num)$"
    r"|^ssn$|^mobile|mobile$|^phone|phone$|^email|email$"
)
_ON_CARDS: Final = re.compile(
    r"^idnum$|^snnum$|^dnnum$|^birth|^dob$|^gender$|^sex$|^nation(?:ality)?$|^address$|^homeaddress$|^issuer$"
    r"|^validinfo$|^additionalinfo$"
)
# What is called something is a person, unless it says what else it is.
_NAMES: Final = re.compile(
    r"^(?!.*(?:device|door|reader|area|zone|gate|site|terminal|department|dept|shift|event|table|location|controller|group"
    r"|project|position|branch|company|machine|model|state|status|type|workcode|verify\w*|host|event)(?:full)?names?$)"
    r".*names?$|^name|^alias$|nick|^nombre|apellido|^prenom$|^vorname$|nachname$|^nome$|cognome|sobrenome|^naam$"
    r"|姓名|名字|^名前$|氏名|이름|الاسم|اسم|^имя|фамилия|नाम"
)
_CUT_OUT: Final = (_PASSWORDS, _PICTURES, _TEMPLATES, _ON_CARDS, _NAMES)
_NEVER: Final = (*_CUT_OUT, _CARDS)


def plain(name: str) -> str:
    """A field's name as it is compared: its letters and digits, in lower case."""
    return _SIGNS.sub("", name).casefold()


@lru_cache(maxsize=4096)
def is_never_kept(name: str) -> bool:
    """Whether a field of this name holds what is never kept: a photograph, a template, a name or a password.

    Args:
        name: As a device, a file or a setting spells it.
    """
    spelled = plain(name)
    return any(kind.search(spelled) for kind in _NEVER)


@lru_cache(maxsize=4096)
def is_cut_out(name: str) -> bool:
    """Whether a field of this name is emptied in what nobody understood: it is never kept, and is nobody's number.

    Args:
        name: As a device or a file spells it.
    """
    spelled = plain(name)
    return any(kind.search(spelled) for kind in _CUT_OUT)
