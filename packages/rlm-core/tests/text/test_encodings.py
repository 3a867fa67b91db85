"""Texts that were saved by other editors, or on Windows, are read in their encoding."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rlm.text.encodings import SAMPLE, decode, encoding_of, likely_encoding_of_start


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", ""),
        ("Grüße\r\n".encode("utf-8-sig"), "Grüße\n"),
        ("Grüße\n".encode("utf-16"), "Grüße\n"),
        ("Grüße\n".encode("utf-16-be"), "Grüße\n"),
        ("Grüße\n".encode("utf-32"), "Grüße\n"),
        ("Grüße – “gut”\n".encode("cp1252"), "Grüße – “gut”\n"),
        ("# vim: set fileencoding=koi8-r :\nпривет".encode("koi8-r"), "# vim: set fileencoding=koi8-r :\nпривет"),
        (b"\xff\xfeo", "ÿþo"),
        (b"Gr\xc3\xbc\xc3\x9fe, ein \xff und \xc2\xbb", "Grüße, ein \ufffd und »"),
    ],
)
def test_a_text_is_read_in_its_encoding(data: bytes, text: str) -> None:
    assert decode(data) == text


@given(st.binary())
def test_any_bytes_are_some_text_and_a_known_encoding_gives_them_back(data: bytes) -> None:
    assert isinstance(decode(data), str)
    codec = encoding_of(data)
    assert codec is None or data.decode(codec).encode(codec) == data


@pytest.mark.parametrize("codec", ["utf-8", "utf-16-le", "utf-32-le", "cp1252"])
@pytest.mark.parametrize("before", range(4))
def test_the_start_of_a_long_file_shows_its_encoding_wherever_it_is_cut(codec: str, before: int) -> None:
    text = "\ufeff" + "x" * before + "ü𝄞" * SAMPLE
    start = text.encode(codec, "ignore")[:SAMPLE]
    assert likely_encoding_of_start(start) == codec


def test_a_short_file_is_not_cut() -> None:
    assert likely_encoding_of_start(b"caf\xe9") == "cp1252"
