"""What people save with other editors, or on Windows, is read as what it says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rlm.text.encodings import decode, encoding_of


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
    ],
)
def test_a_text_is_read_in_its_encoding(data: bytes, text: str) -> None:
    assert decode(data) == text


@given(st.binary())
def test_any_bytes_are_some_text_and_a_known_encoding_gives_them_back(data: bytes) -> None:
    assert isinstance(decode(data), str)
    codec = encoding_of(data)
    assert codec is None or data.decode(codec).encode(codec) == data
