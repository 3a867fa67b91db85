"""A cell's output reaches the model complete, in order and readable."""

from __future__ import annotations

import asyncio
import base64
import re
from pathlib import Path

import pytest
from rlm_testkit.kernel_bench import KernelBench, OpenKernel
from rlm_testkit.png import png
from rlm_testkit.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize(
    ("code", "text"),
    [
        # interleaved streams, Python's and C's
        (
            "import sys\nfor n in range(3): print('o', n); print('e', n, file=sys.stderr)",
            "o 0\ne 0\no 1\ne 1\no 2\ne 2\n",
        ),
        ("import os\nprint('1'); os.system('echo 2; echo 3 >&2'); print('4')", "1\n2\n3\n4\n"),
        ("import ctypes, os\nprint('a')\n_ = os.write(1, b'b\\n')\nprint('c')", "a\nb\nc\n"),
        ("import subprocess, sys\nsubprocess.run(['echo', 'x'], stdout=sys.stdout)\nprint('y')", "x\ny\n"),
        ("import sys\n_ = sys.stdout.buffer.write(b'caf\\xc3\\xa9 \\xff\\n')", "café \ufffd\n"),
        ("import sys\nsys.stdout.reconfigure(line_buffering=True)\nprint(sys.stdout.isatty())", "False\n"),
        # values
        ("'last value'", "'last value'\n"),
        ("1;", "[no output]"),
        # displays
        ("from IPython.display import display\ndisplay({'a': 1}); display('b')", "{'a': 1}\n'b'\n"),
        ("from IPython.display import Markdown\nMarkdown('**m**')", "**m**\n"),
        ("from IPython.display import HTML\nHTML('<b>h</b>')", "h\n"),
        (
            "h = display('10 %', display_id=True)\nfor n in (50, 100): h.update(f'{n} %')\nprint('done')",
            "'10 %'\ndone\n'100 %'\n",
        ),
        # repaints, colours, controls
        ("print('10%\\r20%\\r30%')", "30%\n"),
        ("print('\\x1b[31mred\\x1b[0m \\x07\\x00')", "red \n"),
        ("print('half \\ud83d')", "half \ufffd\n"),
        ("import os\nos.system(\"printf '\\\\033[1mbold\\\\033[0m\\\\r\\\\n'\");", "bold\n"),
        # commands
        ("!echo out; echo err >&2", "out\nerr\n"),
        ("!printf unfinished; exit 3", "unfinished\n[exit code: 3]\n"),
        ("!false\n!true\n!exit 2", "[exit code: 1]\n[exit code: 2]\n"),
        ("!kill -9 $$", "[exit code: -9]\n"),
        ("for n in (0, 4):\n    !exit {n}", "[exit code: 4]\n"),
        ("x = !echo a; echo b >&2; exit 5\nx", "[exit code: 5]\n['a', 'b']\n"),
        ("x = !sleep 60 & echo started\nx", "['started']\n"),
        ("%%bash\necho hi\ncat\nexit 6", "hi\n[exit code: 6]\n"),
        ("!cat", "[no output]"),
        ("!test -t 1 || echo no terminal", "no terminal\n"),
        ("!ls --color=auto -d /", "/\n"),
        ("%system echo captured", "['captured']\n"),
    ],
)
async def test_output_is_unchanged(shared: KernelBench, code: str, text: str) -> None:
    assert await shared.run(code) == text


async def test_help_is_at_its_place_in_the_output(shared: KernelBench) -> None:
    output = await shared.run("def f():\n    'what it does'\nprint('first')\nf?\nprint('last')")
    assert re.fullmatch(r"first\n.*what it does.*\nlast\n", output, re.DOTALL)


async def test_a_traceback_is_there_without_colours(shared: KernelBench) -> None:
    output = await shared.run("def deep(n):\n    return 1 / n\ndeep(0)")
    assert "----> 3 deep(0)" in output
    assert "ZeroDivisionError: division by zero" in output
    assert "\x1b" not in output


async def test_output_of_python_and_c_keeps_its_order(shared: KernelBench) -> None:
    code = "import os\nfor n in range(500):\n    print('p', n)\n    _ = os.write(1, b'c %d\\n' % n)"
    assert await shared.run(code) == "".join(f"p {n}\nc {n}\n" for n in range(500))


FAILED_COMMANDS = [
    ("import asyncio, os, subprocess\nsubprocess.run(['sh', '-c', 'exit 3'], capture_output=True)", 3),
    ("1", 0),
    ("subprocess.call('exit 4', shell=True);", 4),
    ("os.system('exit 5');", 5),
    ("later = subprocess.Popen(['sh', '-c', 'read x; exit 6'], stdin=subprocess.PIPE)", 0),
    ("later.communicate();", 6),
    ("os.popen('exit 7').close();", 7),
    ("subprocess.getstatusoutput('exit 8')", 8),
    ("p = await asyncio.create_subprocess_shell('exit 9'); await p.wait()", 9),
    ("await asyncio.to_thread(subprocess.run, ['sh', '-c', 'exit 10'])", 10),
    ("os.spawnlp(os.P_WAIT, 'sh', 'sh', '-c', 'exit 11')", 11),
    ("subprocess.Popen(['sh', '-c', 'kill -9 $$']).wait()", -9),
    ("def sh(command): return subprocess.run(command, shell=True)", 0),
    ("sh('exit 12')\nsh('true')", 12),
    ("sh('true')", 0),
    # processes that the cell itself ends
    ("p = subprocess.Popen(['sleep', '60']); p.terminate(); p.wait()", 0),
    ("p = subprocess.Popen(['sleep', '60'], start_new_session=True); os.killpg(p.pid, 9); p.wait()", 0),
    # failures that a library expects, and results that show the failure already
    ("import ctypes.util; ctypes.util.find_library('no such library')", 0),
    ("import multiprocessing as m; p = m.get_context('fork').Process(target=os._exit, args=(1,)); p.start(); p.join()", 0),
    ("!false", 0),
]  # fmt: skip


async def test_a_command_that_fails_without_an_error_is_known(shared: KernelBench) -> None:
    reported = [(code, (await shared.execute(code)).exit_status) for code, _ in FAILED_COMMANDS]
    assert reported == FAILED_COMMANDS


async def test_an_exit_code_belongs_to_one_cell(shared: KernelBench) -> None:
    await shared.run("!false")
    assert await shared.run("print('fine')") == "fine\n"


async def test_output_of_a_background_command_arrives_later(shared: KernelBench) -> None:
    await shared.run("!(until [ -e speak ]; do sleep 0.01; done; echo I am late; touch spoken) & true")
    output = await shared.run(
        "import os, time\nopen('speak', 'w').close()\nwhile not os.path.exists('spoken'): time.sleep(0.01)"
    )
    assert output == "I am late\n"


LATE = r"""
import asyncio, pathlib, sys, threading, time
go = pathlib.Path('go')
def from_thread():
    while not go.exists(): time.sleep(0.01)
    sys.stdout.write('from a thread\n')  # print() writes text and line break apart
    pathlib.Path('thread').touch()
async def from_task():
    while not go.exists(): await asyncio.sleep(0.01)
    sys.stderr.write('from a task\n')
    pathlib.Path('task').touch()
threading.Thread(target=from_thread).start()
task = asyncio.create_task(from_task())
"""


async def test_output_between_cells_comes_before_the_next_result(open_kernel: OpenKernel) -> None:
    async with open_kernel() as bench:
        assert bench.spec
        assert await bench.run(LATE) == "[no output]"
        (bench.spec.cwd / "go").touch()
        while not all((bench.spec.cwd / name).exists() for name in ("thread", "task")):
            await asyncio.sleep(0.01)
        output = await bench.run("print('now')")
        assert output.startswith("[output since the last cell]\nfrom a t")
        assert output.endswith("\n[this cell]\nnow\n")
        assert "from a thread\n" in output
        assert "from a task\n" in output
        assert await bench.run("print('then')") == "then\n"


UNFINISHED = """
import contextvars, os, threading, time
from IPython.display import display

handle = display("first", display_id=True)

def later():
    while not os.path.exists("begin"):
        time.sleep(0.01)
    {statement}
    open("done", "w").close()

threading.Thread(target=contextvars.copy_context().run, args=[later]).start()  # ipykernel 7.0 needs the context
"""


@pytest.mark.parametrize(
    ("statement", "shown"),
    [("print('no newline', end='', flush=True)", "no newline"), ("handle.update('second')", "'second'\n")],
)
async def test_an_unfinished_line_and_an_updated_display_between_cells_are_shown_too(
    open_kernel: OpenKernel, tmp_path: Path, statement: str, shown: str
) -> None:
    async with open_kernel(cwd=tmp_path) as bench:
        await bench.run(UNFINISHED.format(statement=statement))
        (tmp_path / "begin").touch()
        await eventually((tmp_path / "done").exists)
        output = await bench.run("print('now')")
        assert output.rstrip("\n") == f"[output since the last cell]\n{shown}".rstrip("\n") + "\n[this cell]\nnow"


async def test_pieces_are_reported_while_the_cell_runs(open_kernel: OpenKernel) -> None:
    async with open_kernel() as bench:
        assert bench.spec
        cell = await bench.begin(
            "import os, time\nprint('early')\nwhile not os.path.exists('heard'): time.sleep(0.01)\nprint('end')"
        )
        assert (bench.printed, cell.done()) == ("early\n", False)
        (bench.spec.cwd / "heard").touch()
        assert (await cell).text == bench.printed == "early\nend\n"


def noise(width: int, height: int) -> bytes:
    """A picture that cannot be compressed."""
    return png(width, (b"\0" + bytes((x * y) % 251 for x in range(width * 3)) for y in range(height)))


async def test_a_picture_is_saved_and_its_path_reported(open_kernel: OpenKernel) -> None:
    picture = noise(8, 8)
    code = f"""
from IPython.display import Image, SVG, display
display(Image(__import__('base64').b64decode({base64.b64encode(picture).decode()!r})))
print('between')
SVG('<svg xmlns="http://www.w3.org/2000/svg"/>')
"""
    async with open_kernel() as bench:
        assert bench.spec
        result = await bench.execute(code)
        first, second = result.pictures
        assert result.text.count("[picture: ") == 2
        assert f"[picture: {first}]\nbetween\n" in result.text
        assert f"[picture: {second}]\n" in result.text
        assert first.parent == bench.spec.outputs
        assert first.suffix == ".png"
        assert second.suffix == ".svg"
        assert first.read_bytes() == picture
        assert first.stat().st_mode & 0o777 == 0o600


async def test_a_picture_of_fifty_megabytes_is_saved_too(open_kernel: OpenKernel) -> None:
    async with open_kernel() as bench:
        code = "from IPython.display import Image\nimport os\nImage(os.urandom(50_000_000), format='png')"
        (picture,) = (await bench.execute(code)).pictures
        assert picture.stat().st_size == 50_000_000


async def test_a_long_output_is_head_and_tail_and_the_whole_is_on_disk(open_kernel: OpenKernel) -> None:
    async with open_kernel(max_output=1_000) as bench:
        output = await bench.run("for n in range(2_000): print('line', n)")
        whole = "".join(f"line {n}\n" for n in range(2_000))
        found = re.search(r"\[… ([\d,]+) characters left out; the full text is in (.+) …\]", output)
        assert found
        assert output.startswith(whole[:500])
        assert output.endswith(whole[-500:])
        assert int(found[1].replace(",", "")) == len(whole) - 1_000
        assert Path(found[2]).read_text() == whole


@pytest.mark.parametrize(
    "code",
    [
        "raise ValueError('x' * 5_000_000)",
        "'x' * 5_000_000",
        "print('x' * 5_000_000)",
        "import os; os.system('head -c 5000000 /dev/zero | tr \"\\\\0\" x');",
    ],
)
async def test_five_megabytes_arrive_whole(shared: KernelBench, code: str) -> None:
    output = await shared.run(code)
    assert output.count("x" * 100_000) >= 49


async def test_binary_output_does_no_harm(shared: KernelBench) -> None:
    """Only the printable bytes of each round reach the model."""
    output = await shared.run(
        "import os\nfor _ in range(100): _ = os.write(1, bytes(range(256)) + b'\\n')\nprint('fine')"
    )
    assert output.count(bytes(range(0x20, 0x7F)).decode() + "\ufffd" * 128) == 100
    assert output.endswith("fine\n")
    assert await shared.run("1") == "1\n"


async def test_code_with_odd_characters_is_an_error_that_can_be_read(shared: KernelBench) -> None:
    for code in ("x = '\ud800'", "print('\x00')", "\ufeffprint(1)"):
        await shared.execute(code)
    assert await shared.run("'é ☃ 😀'") == "'é ☃ 😀'\n"
