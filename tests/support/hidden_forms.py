"""The forms in which a picture or a template may stand in a text, and whether any of one is left."""

import base64
import binascii
import gzip
import quopri
import struct
from collections.abc import Callable, Mapping
from typing import Final

import orjson


def _lines(text: str, width: int, between: str) -> str:
    return between.join(text[place : place + width] for place in range(0, len(text), width))


_OF_BASE45: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:"


def _base45(data: bytes) -> str:
    """As RFC 9285 has it: two bytes are three letters, a last one is two."""
    letters = []
    for at in range(0, len(data), 2):
        pair = data[at : at + 2]
        number = int.from_bytes(pair)
        letters += [_OF_BASE45[number // power % 45] for power in (1, 45, 45 * 45)[: len(pair) + 1]]
    return "".join(letters)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _brotli(data: bytes) -> bytes:
    """As RFC 7932 has it, with one block that is stored and an empty last one: of at most 65,536 bytes."""
    last = len(data) - 1
    return bytes([0x0B | (last & 1) << 7, last >> 1 & 0xFF, 0x80 | last >> 9]) + data + b"\x03"


FORMS: Final[Mapping[str, Callable[[bytes], str]]] = {
    "base64": _base64,
    "base64 for addresses": lambda data: base64.urlsafe_b64encode(data).decode(),
    "base64 in lines": lambda data: _lines(_base64(data), 76, "\n"),
    "base64 in indented lines": lambda data: _lines(_base64(data), 64, "\r\n        "),
    "base64 in short lines": lambda data: _lines(_base64(data), 20, "\n"),
    "base64 in pieces": lambda data: orjson.dumps([_base64(data)[at : at + 60] for at in range(0, 900, 60)]).decode(),
    "an address of data": lambda data: "data:image/jpeg;base64," + _base64(data),
    "base64 of gzip": lambda data: _base64(gzip.compress(data)),
    "base64 of brotli": lambda data: _base64(_brotli(data)),
    "brotli": lambda data: _brotli(data).decode("latin-1"),
    "base32": lambda data: base64.b32encode(data).decode(),
    "base45": _base45,
    "base45 in lines": lambda data: _lines(_base45(data), 76, "\n"),
    "base85": lambda data: base64.b85encode(data).decode(),
    "ASCII85": lambda data: base64.a85encode(data).decode(),
    "hex": lambda data: data.hex(),
    "hex with colons": lambda data: data.hex(":"),
    "hex with spaces": lambda data: data.hex(" "),
    "hex with commas": lambda data: ", ".join(f"0x{each:02x}" for each in data),
    "hex in groups": lambda data: data.hex(" ", 2),
    "hex behind backslashes": lambda data: "".join(f"\\x{each:02x}" for each in data),
    "hex as a dump": lambda data: "\n".join(f"{at:08x}: {data[at : at + 16].hex(' ', 2)}" for at in range(0, 800, 16)),
    "percent": lambda data: "".join(f"%{each:02X}" for each in data),
    "quoted-printable": lambda data: quopri.encodestring(data).decode(),
    "uuencoded": lambda data: "".join(binascii.b2a_uu(data[at : at + 45]).decode() for at in range(0, 900, 45)),
    "a list of bytes": lambda data: orjson.dumps(list(data)).decode(),
    "a list of signed bytes": lambda data: orjson.dumps([each - 128 for each in data]).decode(),
    "a list in lines": lambda data: orjson.dumps(list(data), option=orjson.OPT_INDENT_2).decode(),
    "a list of strings": lambda data: orjson.dumps([str(each) for each in data]).decode(),
    "lists in a list": lambda data: orjson.dumps([list(data[at : at + 8]) for at in range(0, 800, 8)]).decode(),
    "an object of bytes": lambda data: orjson.dumps({str(at): each for at, each in enumerate(data)}).decode(),
    "numbers and spaces": lambda data: " ".join(map(str, data)),
    "words": lambda data: orjson.dumps(struct.unpack("<200I", data[:800])).decode(),
    "a vector": lambda data: orjson.dumps([each / 251 - 0.5 for each in data[:256]]).decode(),
    "a vector of few digits": lambda data: ",".join(f"{each / 251 - 0.5:.4f}" for each in data[:256]),
    "a vector with exponents": lambda data: ";".join(f"{each / 251 - 0.5:e}" for each in data[:256]),
    "letters": lambda data: data.decode("latin-1"),
}

_LENGTH: Final = 48


def is_left(form: str, *written: bytes) -> bool:
    """Whether any part of a form is left.

    Args:
        form: As `FORMS` has it.
        written: All that was written, without the escapes of what it stands in.
    """
    data = form.encode()
    return any(data[at : at + _LENGTH] in each for at in range(0, len(data) - _LENGTH, 11) for each in written)
