"""docs/recursion.md: data is shared instead of copied."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from rlm.text.lazy_text import LARGEST, LazyText, read_text
from rlm_testkit.cli import Rlm
from rlm_testkit.scripted import Answer, Request, Scripted, call, text

Make = Callable[[Scripted], Rlm]

ROOT = """
import pathlib, pickle
class Frame:
    def __init__(self, data):
        self.data = data
    def __reduce_ex__(self, protocol):
        return Frame, (pickle.PickleBuffer(self.data),)
def put(n):
    frame.data[n] = n
async def changed(n):
    put(n)
    return (await rlm.run("frame", context=frame)).value
pathlib.Path("large.txt").write_text("é line\\n" * 2_000_000)
pathlib.Path("small.txt").write_text("few")
frame = Frame(bytearray(4_000_000))
a, b = [r.value for r in await asyncio.gather(*(rlm.run("frame", context=frame) for _ in range(2)))]
print(a == b, a)
c, d = await asyncio.gather(changed(1), changed(2))
print(c[0] != d[0], c[1], d[1], (await rlm.run("frame", context=[frame, 0])).value[1])
print((await rlm.run("bytes", context=[b"ab" * 1_000_000, "x"])).value)
texts = [(await rlm.run("text", context=pathlib.Path(name))).value for name in ("small.txt", "large.txt")]
print(*texts, sep="\\n")
!rlm --context large.txt text
try:
    await rlm.run("text", context=pathlib.Path("none.txt"))
except rlm.ConfigError as error:
    print(str(error).endswith("cannot be passed on: No such file or directory."))
"""
CHILDREN = {
    "frame": """
frame = context[0] if isinstance(context, list) else context
start = bytes(frame.data[:3])
frame.data[0] = 9
maps = [line.split() for line in open("/proc/self/maps") if "/context" in line]
rlm.answer(({line[4] for line in maps}, start, len(frame.data), {line[1] for line in maps}))
""",
    "bytes": """
large, x = context
pair = (large[:3], large[-1], len(large), large.find(b"ba", 5), large.count(b"a"), b"ab" in large, large.decode()[:2])
rlm.answer((type(large).__name__, pair, bytes(large) == b"ab" * 1_000_000, x))
""",
    "text": """
lines = sum(1 for _ in context) if type(context) is not str else 0
rlm.answer([type(context).__name__, len(context), context[-7:-1], context.find("line", 9), lines])
""",
}


def script(request: Request) -> Answer:
    if request.depth:
        return call("ipython", code=CHILDREN[request.task])
    return call("ipython", code=ROOT) if request.turn == 0 else text("end")


@pytest.mark.parametrize("sandbox", ["off", "bwrap"])
def test_large_data_is_stored_once_in_a_file_that_sub_agents_map(rlm: Make, sandbox: str) -> None:
    with Scripted(script) as server:
        done = rlm(server)("go", RLM_MAX_DEPTH="1", RLM_SANDBOX=sandbox)
    shared, changed, in_bytes, small, large, by_command, missing = done.session.results[0].splitlines()
    assert shared.startswith("True ({'")
    assert shared.endswith("b'\\x00\\x00\\x00', 4000000, {'rw-p'})"), "changes of one agent are invisible to the others"
    assert changed == "True b'\\x00\\x01\\x00' b'\\x00\\x01\\x02' b'\\x00\\x01\\x02'", (
        "each agent gets the value as it was then"
    )
    assert in_bytes == "('MappedBytes', (b'aba', 98, 2000000, 5, 1000000, True, 'ab'), True, 'x')"
    assert small == "['str', 3, 'fe', -1, 0]"
    assert large == "['LazyText', 14000000, 'é line', 9, 2000000]"
    assert by_command == '["LazyText", 14000000, "é line", 9, 2000000]'
    assert missing == "True"


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252"])
def test_a_lazy_text_reads_like_the_text(tmp_path: Path, encoding: str) -> None:
    dice, path = random.Random(encoding), tmp_path / "text"
    letters = "ab\n é" if encoding == "cp1252" else "ab\n é€😀"
    for _ in range(100):
        data = bytearray("".join(dice.choices(letters, k=dice.randrange(400))).encode(encoding))
        if data and encoding == "utf-8":
            data[dice.randrange(len(data))] = dice.choice(b"a\x80\xe2\xff")
        path.write_bytes(data)
        whole, lazy = data.decode(encoding, "replace"), LazyText(path, encoding, block=32)
        assert (str(lazy), len(lazy), list(lazy)) == (whole, len(whole), [*io.StringIO(whole, newline="\n")])
        for _ in range(20):
            start, end, step = dice.randrange(-450, 450), dice.randrange(-450, 450), dice.choice([1, 2, -1, -3])
            part = "".join(dice.choices(letters, k=dice.randrange(4)))
            assert lazy[start:end:step] == whole[start:end:step]
            assert lazy.find(part, start, end) == whole.find(part, start, end)
            assert lazy.count(part, start, end) == whole.count(part, start, end)
            assert (part in lazy, lazy.find(part)) == (part in whole, whole.find(part))


def test_a_file_that_changes_while_it_is_read_is_an_error_and_not_a_wrong_text(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("x" * (LARGEST + 1))
    lazy = read_text(path)
    assert isinstance(lazy, LazyText)
    path.write_text("short")
    with pytest.raises(OSError, match="was changed while it was read"):
        lazy[5]
    assert read_text(path) == "short"
