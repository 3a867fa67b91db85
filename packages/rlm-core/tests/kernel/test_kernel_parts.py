"""The pure parts of the kernel's client: invalid input must not make them fail."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rlm.inside.html_text import table_size
from rlm.kernel import render
from rlm.kernel.clock import Clock
from rlm.kernel.death import how_it_ended
from rlm.kernel.protocol import Message, MessageCodec

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
KEYS = st.sampled_from(
    [
        "text",
        "data",
        "traceback",
        "text/plain",
        "text/html",
        "image/png",
        "transient",
        "display_id",
    ]
)
CONTENT = st.dictionaries(KEYS, JSON | st.dictionaries(KEYS, JSON) | st.lists(st.dictionaries(KEYS, JSON)))


def signed(key: str, *frames: bytes) -> list[bytes]:
    mac = hmac.new(key.encode(), b"".join(frames), hashlib.sha256)
    return [b"topic", b"<IDS|MSG>", mac.hexdigest().encode(), *frames]


def test_a_written_message_can_be_read_with_the_key() -> None:
    number, frames = MessageCodec("secret").request("execute_request", {"code": "'\ud800' é"})
    message = MessageCodec("secret").read(frames)
    assert message == Message("execute_request", "None", {"code": "'\ud800' é"}, {})
    assert json.loads(frames[2])["msg_id"] == number
    assert MessageCodec("another").read(frames) is None


def test_each_request_has_its_own_number() -> None:
    wire = MessageCodec("secret")
    assert len({wire.request("kernel_info_request", {})[0] for _ in range(100)}) == 100


@given(st.lists(st.binary(max_size=20) | st.just(b"<IDS|MSG>"), max_size=9))
def test_garbage_is_ignored(parts: list[bytes]) -> None:
    assert MessageCodec("secret").read(parts) is None


@given(st.lists(st.binary(max_size=30) | JSON.map(lambda value: json.dumps(value).encode()), max_size=6))
def test_signed_garbage_raises_nothing(frames: list[bytes]) -> None:
    message = MessageCodec("secret").read(signed("secret", *frames))
    assert message is None or isinstance(message.content, dict)


def test_a_message_nested_too_deeply_is_ignored() -> None:
    assert MessageCodec("secret").read(signed("secret", *[b"[" * 1_000_000] * 4)) is None


@pytest.mark.parametrize(
    "frame", [b"[%s[]]" % (b"[]," * 10**7), b"[%s1]" % (b"1," * 10**7), b'["a"%s]' % (b',""' * 10**7)]
)
def test_a_message_that_would_expand_too_much_is_ignored(frame: bytes) -> None:
    tracemalloc.start()
    assert MessageCodec("secret").read(signed("secret", b"{}", b"{}", b"{}", frame)) is None
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * len(frame)


@given(CONTENT)
def test_any_content_is_rendered_to_text(content: dict[str, Any]) -> None:
    message = Message("display_data", "1", content, {})
    assert isinstance(render.stream(message), str)
    assert isinstance(render.error(message), str)
    assert isinstance(render.display(message).text, str)


def displayed(**data: Any) -> render.Display:
    named = {name.replace("_", "/", 1).replace("_", "+"): value for name, value in data.items()}
    return render.display(Message("display_data", "1", {"data": named}, {}))


def test_the_most_informative_text_is_chosen() -> None:
    assert displayed(text_plain="plain", text_html="<b>").text == "plain"
    assert displayed(text_plain="<x.Y object>", text_markdown="**m**", text_html="<b>").text == "**m**"
    assert displayed(text_plain="<x.Y at 0x7f>", text_latex="$x$").text == "$x$"
    assert displayed(text_plain="<x.Y object>").text == "<x.Y object>"
    assert displayed(text_markdown=["*a", "b*"]).text == "*ab*"


@pytest.mark.parametrize(
    ("html", "size"),
    [
        ("<table><tr><td>1</td></tr><tr><td>2</td></tr></table>", [2, 1]),
        ("<table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>2</td></tr></table>", [1, 2]),
        ("<table><thead><tr><th>a</th></tr></thead><tr><td>1</td></tr></table>", [1, 1]),
        ("<table><thead><tr><th></th><th>a</th></tr></thead><tbody><tr><th>0</th><td>1</td></tr></tbody>", [1, 1]),
        ("<table></table><p>5 rows × 2 columns</p>", [5, 2]),
        ("<table></table>", [0, 0]),
        ("<p>none</p>", []),
    ],
)
def test_a_table_says_how_large_it_is(html: str, size: list[int]) -> None:
    assert size == table_size(html)


def test_pictures_are_decoded() -> None:
    assert displayed(image_png=base64.b64encode(b"data").decode()).picture == render.Picture(b"data", "png")
    assert displayed(image_svg_xml="<svg/>").picture == render.Picture(b"<svg/>", "svg")
    assert displayed(image_unknown="x").picture is None
    assert displayed(image_png=42).picture is None


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (None, "it was killed together with the process that starts kernels"),
        (0, "its process exited with code 0"),
        (3 << 8, "its process exited with code 3"),
        (9, "it was killed by SIGKILL, as the system does when memory runs out"),
        (11 | 128, "it crashed with SIGSEGV, an invalid memory access"),
        (45, "it was killed by signal 45"),
    ],
)
def test_the_end_of_a_kernel_is_described_in_words(status: int | None, words: str) -> None:
    assert how_it_ended(status) == words


async def test_the_clock_does_not_run_while_it_is_held() -> None:
    clock, loop = Clock(), asyncio.get_running_loop()
    with clock.held(), clock.running(0.05) as expired:
        await asyncio.sleep(0.1)
        assert not expired.done()
    begun = loop.time()
    with clock.running(0.5) as expired:
        with clock.held():
            held = loop.time()
            await asyncio.sleep(0.6)
            assert not expired.done()
            let_go = loop.time()
        await expired
        assert held - begun + loop.time() - let_go > 0.49


async def test_a_cell_that_is_held_again_and_again_ends() -> None:
    clock = Clock()
    with clock.running(0.2) as expired:
        while not expired.done():
            await asyncio.sleep(0.01)
            with clock.held():
                pass


async def test_a_hold_may_outlast_the_cell() -> None:
    clock = Clock()
    with clock.running(60):
        hold = clock.held()
        hold.__enter__()
    hold.__exit__(None, None, None)
    with clock.running(0.01) as expired:
        await expired
