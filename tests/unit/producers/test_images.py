"""An image ends where its own format says, so that a record behind it stays."""

import struct
import zlib
from random import Random

import pytest

from producers.images import images

NOISE = Random(7).randbytes(600).replace(b"\xff", b"\x01")


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


IMAGES = {
    "PNG": b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", b"\0" * 13) + chunk(b"IDAT", NOISE) + chunk(b"IEND", b""),
    "JPEG": b"\xff\xd8\xff\xe0\x00\x10JFIF\0\1\1\0\0\1\0\1\0\0\xff\xda\x00\x08\1\1\0\0\x3f\0" + NOISE + b"\xff\xd9",
    "GIF": b"GIF89a\2\0\2\0\x80\0\0" + b"\0" * 6 + b"\x2c" + b"\0" * 9 + b"\2\xff" + NOISE[:255] + b"\0\x3b",
    "WebP": b"RIFF" + struct.pack("<I", 4 + len(NOISE)) + b"WEBP" + NOISE,
    "BMP": b"BM" + struct.pack("<I", 14 + len(NOISE)) + b"\0" * 4 + b"\x36\0\0\0" + NOISE,
}


@pytest.mark.parametrize("form", IMAGES)
def test_the_record_behind_an_image_is_not_of_it(form: str) -> None:
    before, image, after = b'{"user":"7"}\n', IMAGES[form], b'{"user":"8"}\n'
    assert list(images(before + image + after)) == [(len(before), len(before) + len(image))]


@pytest.mark.parametrize("form", IMAGES)
def test_an_image_that_is_cut_off_is_cut_nearly_to_its_end(form: str) -> None:
    image = IMAGES[form][: len(IMAGES[form]) // 2]
    [(start, end)] = images(b"x=" + image)
    assert start == 2
    assert 2 + len(image) - end < 8


@pytest.mark.parametrize("text", [b"GIF89a is a format", b"BMW 7 2026-03-02 08:00:00", b"RIFF", b"\xff\xd8"])
def test_a_word_that_begins_like_an_image_is_none(text: bytes) -> None:
    assert list(images(text)) == []
