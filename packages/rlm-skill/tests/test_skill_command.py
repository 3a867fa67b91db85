"""The command of every skill, run as a user runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:  # at run time only pytest imports conftest.py
    from tests.conftest import CommandResult, SkillBench

SAY = Path(sys.executable).with_name("say")


def run_say(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SAY, *words], check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, **options
    )


def stdout_of(*words: str) -> str:
    done = run_say(*words)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def data_of(*words: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(stdout_of("--text", "hi", "--as-data", *words))
    return answer


def test_text_is_printed_as_it_is() -> None:
    assert stdout_of("--text", 'a "b" é') == 'a "b" é\n'


def test_a_list_takes_several_words_after_one_flag() -> None:
    assert stdout_of("--text", "hi", "--names", "Ada", "Bob") == "Hello Ada!\nHello Bob!\nhi\n"


def test_a_repeated_flag_is_refused_rather_than_half_forgotten() -> None:
    done = run_say("--text", "hi", "--names", "Ada", "--names", "Bob")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "say: --names is given twice; write several values after one: --names A B\n"


def test_a_value_that_is_not_text_is_printed_as_json() -> None:
    assert stdout_of("--text", "hi", "--as-data") == '{"said":["hi"],"voice":"alice","extra":{}}\n'


def test_nothing_is_printed_for_none(tmp_path: Path) -> None:
    assert stdout_of("--text", "hi", "--into", str(tmp_path / "said")) == ""
    assert (tmp_path / "said").read_text() == "hi"


def test_flags_choices_and_enums_are_words() -> None:
    assert stdout_of("--text", "hi", "--tone", "loud", "--voice", "BOB", "--signed") == "HI\n-- bob\n"
    assert stdout_of("--text", "hi", "--no-signed") == "hi\n"


def test_the_fields_of_a_dataclass_are_flags() -> None:
    assert stdout_of("--text", "hi", "--pace.echo", "2") == "hi\nhi\n"


def test_a_list_of_dataclasses_and_a_dictionary_are_json() -> None:
    assert data_of("--lines", '[{"text": "x", "times": 2}, {"text": "y"}]')["said"] == ["hi", "x", "x", "y"]
    assert data_of("--extra", '{"a": [1, null]}')["extra"] == {"a": [1, None]}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "Invalid JSON"),
        ('[{"text": "x", "times": "many"}]', "at 0.times: Input should be a valid integer"),
        ("[{}]", "at 0.text: Field required"),
    ],
)
def test_wrong_json_is_a_usage_error_that_says_where(text: str, problem: str) -> None:
    done = run_say("--text", "hi", "--lines", text)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--lines" in done.stderr
    assert problem in " ".join(done.stderr.split())


@pytest.mark.parametrize("words", [[], ["--text"], ["--text", "hi", "--what"], ["--text", "hi", "--tone", "shrill"]])
def test_a_usage_error_is_on_stderr_with_status_2(words: list[str]) -> None:
    done = run_say(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert "say --help" in done.stderr


def test_help_shows_the_words_of_the_docstring_in_plain_ascii() -> None:
    text = stdout_of("--help")
    assert text.startswith("usage: say ")
    words = " ".join(text.split())
    assert "Say a text, to everybody named." in words
    for expected in [
        "--text STR What to say. (required)",
        "--names [STR [STR ...]] Whom to greet first. (default: None)",
        "--tone {plain,loud,soft} How to say it. (default: plain)",
        "--voice {ALICE,BOB} Who says it. (default: ALICE)",
        "--into PATH A file to write to instead of answering. (default: None)",
        "--signed, --no-signed Whether to add who said it. (default: False)",
        "--lines JSON More to say, each with how often. (default: null)",
        "--pace.echo INT How often to repeat. (default: 1)",
    ]:
        assert expected in words
    assert text.isascii()
    assert "\x1b" not in text


def test_help_on_a_terminal_has_no_colours() -> None:
    master, slave = os.openpty()
    subprocess.run([SAY, "--help"], stdin=slave, stdout=slave, stderr=slave, timeout=60, check=True)
    os.close(slave)
    assert b"\x1b" not in os.read(master, 1_000_000)
    os.close(master)


MODULES_AFTER_HELP = """
import sys
from rlm.skill import cli
sys.argv = ["say", "--help"]
try:
    cli()
except SystemExit as end:
    print(*sys.modules, file=sys.stderr)
    sys.exit(end.code)
"""


def test_help_imports_nothing_of_rlm_core_nor_what_is_slow() -> None:
    program = [sys.executable, "-c", MODULES_AFTER_HELP]
    done = subprocess.run(program, capture_output=True, text=True, timeout=60, check=True)
    imported = set(done.stderr.split())
    assert {"rlm.skill.command", "tyro"} <= imported
    assert not {name for name in imported if name.startswith("rlm.") and not name.startswith("rlm.skill")}
    assert not imported & {"pydantic", "pydantic_core", "typeguard", "rich", "IPython"}


def test_importing_the_library_imports_the_standard_library_alone() -> None:
    program = "import sys, rlm.skill; from rlm.skill import cli; print(*{m.partition('.')[0] for m in sys.modules})"
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True).stdout
    foreign = {name for name in out.split() if name not in sys.stdlib_module_names and not name.startswith("_")}
    assert foreign - {"sitecustomize", "usercustomize"} == {"rlm"}


def test_an_exception_of_run_is_a_plain_traceback_with_status_1() -> None:
    done = run_say("--text", "")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Traceback (most recent call last):\n")
    assert done.stderr.endswith("ValueError: there is nothing to say\n")
    assert "tyro" not in done.stderr


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("word", ["--text=x", "--help"])
def test_a_reader_that_goes_away_is_no_error(word: str, unbuffered: str) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [SAY, word],
        check=False,
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_closed_stdout_is_no_error() -> None:
    done = subprocess.run([f'exec "{SAY}" --text x >&-'], shell=True, check=False, stderr=subprocess.PIPE, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_broken_pipe_of_the_skills_own_is_an_error(bench: SkillBench) -> None:
    bench.write("piper", "async def run() -> None:\n    raise BrokenPipeError('the server hung up')\n")
    code, _, err = bench.call("piper")
    assert code == 1
    assert err.endswith("BrokenPipeError: the server hung up\n")


def test_ctrl_c_ends_it_quietly_with_130(bench: SkillBench) -> None:
    bench.write(
        "sleeper",
        """
        import asyncio, sys

        async def run() -> None:
            print("asleep", file=sys.stderr, flush=True)
            await asyncio.sleep(60)
        """,
    )
    with bench.start("sleeper") as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "asleep\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, "", "")


KINDS = """
from __future__ import annotations
import dataclasses
from typing import Annotated, Any, Literal, Optional, TypedDict
from pydantic import BaseModel

class Model(BaseModel):
    size: int
    tags: list[str] = []

class Typed(TypedDict):
    size: int

@dataclasses.dataclass
class Deep:
    models: list[Model] = dataclasses.field(default_factory=list)

async def run({parameter}) -> Any:
    return repr(value)
"""


TAKES_JSON = [
    ("value: Any", '{"a": 1}', "{'a': 1}"),
    ("value: dict[str, Any]", '{"a": [true]}', "{'a': [True]}"),
    ("value: dict[str, int]", '{"a": 1}', "{'a': 1}"),
    ("value: list[Model]", '[{"size": 1}]', "[Model(size=1, tags=[])]"),
    ("value: Model | None = None", '{"size": 1, "tags": ["x"]}', "Model(size=1, tags=['x'])"),
    ("value: Optional[Model] = None", None, "None"),
    ("value: list[dict]", '[{"a": 1}, {}]', "[{'a': 1}, {}]"),
    ("value: list[Typed]", '[{"size": 1}]', "[{'size': 1}]"),
    ("value: list[list[int]]", "[[1], [2]]", "[[1], [2]]"),
    ("value: Deep = Deep()", '{"models": [{"size": 1}]}', "Deep(models=[Model(size=1, tags=[])])"),
    ("value: list", "[1]", "[1]"),
    ("value", "[1]", "[1]"),
    ("value: int | None = None", "3", "3"),
    ("value: int | str", "x", "'x'"),
    ("value: Literal[1, 2]", "2", "2"),
    ("value: Annotated[int, 'metres']", "3", "3"),
    ("value: bool | None = None", "True", "True"),
    ("value: str = None", None, "None"),
    ("value: list[str] = []", None, "[]"),
]


def test_parameters_that_are_not_plain_values_or_lists_take_json(bench: SkillBench) -> None:
    taken = taken_by_kinds(
        bench, [(parameter, ["--value", words] if words else []) for parameter, words, _ in TAKES_JSON]
    )
    assert taken == [(0, f"{expected}\n", "") for _, _, expected in TAKES_JSON]


def taken_by_kinds(bench: SkillBench, calls: list[tuple[str, list[str]]]) -> list[CommandResult]:
    """Call a skill with each of these parameters and these words. Return how each call ended."""
    for number, (parameter, _) in enumerate(calls):
        bench.write(f"kinds{number}", KINDS.format(parameter=parameter))
    return bench.call_each([(f"kinds{number}", words) for number, (_, words) in enumerate(calls)])


def test_help_can_be_generated_for_every_type(bench: SkillBench) -> None:
    types = ["Any", "dict[str, Any]", "list[Model]", "Model | None", "list[dict]", "list[Typed]", "int | None", "Typed"]
    parameters = ", ".join(f"p{number}: {type}" for number, type in enumerate(types))
    bench.write("kinds", KINDS.format(parameter=parameters))
    code, out, err = bench.call("kinds", "--help")
    assert (code, err) == (0, "")
    flags = [f"--p{number} JSON" for number in range(6)] + ["--p6 {None}|INT", "--p7.size INT"]
    assert [flag for flag in flags if flag not in out] == []


TAKES_WORDS = [
    ("value: list[str]", ["--value", "a", "b"], "['a', 'b']"),
    ("value: list[str]", ["--value"], "[]"),
    ("value: list[int] | None = None", ["--value", "1", "2"], "[1, 2]"),
    ("value: tuple[int, str]", ["--value", "1", "x"], "(1, 'x')"),
    ("value: set[int]", ["--value", "1", "1"], "{1}"),
    ("value: Typed", ["--value.size", "1"], "{'size': 1}"),
    ("value: Model", ["--value.size", "1", "--value.tags", "a", "b"], "Model(size=1, tags=['a', 'b'])"),
    ("value: str, /", ["x"], "'x'"),
    ("value: bool = True", ["--no-value"], "False"),
]


def test_plain_values_lists_and_records_take_words(bench: SkillBench) -> None:
    taken = taken_by_kinds(bench, [(parameter, words) for parameter, words, _ in TAKES_WORDS])
    assert taken == [(0, f"{expected}\n", "") for _, _, expected in TAKES_WORDS]


RESULTS = """
from typing import Any
from dataclasses import dataclass
from pydantic import BaseModel

class Thing:
    def __repr__(self) -> str:
        return "<thing>"

class Model(BaseModel):
    size: int = 1

@dataclass
class Point:
    x: int = 1

async def run() -> Any:
    return {result}
"""


RESULTS_AS_PRINTED = [
    ("'ends with a newline\\n'", "ends with a newline\n"),
    ("''", "\n"),
    ("None", ""),
    ("0", "0\n"),
    ("False", "false\n"),
    ("[Model(), Point()]", '[{"size":1},{"x":1}]\n'),
    ("{'what': Thing()}", '{"what":"<thing>"}\n'),
    ("'half \\ud83d'", "half \\ud83d\n"),
]


def test_results_are_printed_as_documented(bench: SkillBench) -> None:
    for number, (result, _) in enumerate(RESULTS_AS_PRINTED):
        bench.write(f"results{number}", RESULTS.format(result=result))
    ended = bench.call_each([(f"results{number}", []) for number in range(len(RESULTS_AS_PRINTED))])
    assert ended == [(0, printed, "") for _, printed in RESULTS_AS_PRINTED]


def test_a_sync_run_works_too(bench: SkillBench) -> None:
    bench.write("plain", "def run(text: str) -> str:\n    return text.upper()\n")
    assert list(bench.call("plain", "--text", "hi")) == [0, "HI\n", ""]


def test_a_command_without_its_package_says_what_is_missing(bench: SkillBench) -> None:
    bench.command("lonely")
    code, out, err = bench.call("lonely")
    assert (code, out) == (2, "")
    assert err.startswith("lonely: no skill 'lonely' is installed in ")


def test_a_package_without_run_says_what_to_write(bench: SkillBench) -> None:
    bench.write("idle", "", init="")
    assert list(bench.call("idle")) == [
        2,
        "",
        "idle: the package 'idle' offers no `run`; write in its __init__.py: from .idle import run\n",
    ]


def test_a_skill_that_fails_to_import_shows_its_own_traceback(bench: SkillBench) -> None:
    bench.write("broken", "import no_such_module\n")
    code, _, err = bench.call("broken")
    assert code == 1
    assert err.endswith("ModuleNotFoundError: No module named 'no_such_module'\n")


def test_calls_are_counted_in_the_file_that_the_environment_names(bench: SkillBench, tmp_path: Path) -> None:
    bench.write("plain", "async def run(text: str) -> str:\n    return text\n")
    log = tmp_path / "calls"
    for words in (["--text", "a"], ["--text", "b"], ["--help"], ["--wrong"]):
        bench.call("plain", *words, RLM_SKILL_CALLS_LOG=log)
    assert log.read_text() == "plain\nplain\n"


def test_a_log_that_cannot_be_written_changes_nothing(bench: SkillBench, tmp_path: Path) -> None:
    bench.write("plain", "async def run(text: str) -> str:\n    return text\n")
    os.mkfifo(tmp_path / "pipe")
    for log in ("", tmp_path, tmp_path / "no" / "folder", tmp_path / "pipe"):
        assert list(bench.call("plain", "--text", "a", RLM_SKILL_CALLS_LOG=log)) == [0, "a\n", ""]


def test_an_exception_of_a_skill_is_reported_with_only_its_own_frames(bench: SkillBench) -> None:
    bench.write(
        "fails",
        "async def run(n: int = 1) -> None:\n    await deeper()\nasync def deeper():\n    raise ValueError('too small')\n",
    )
    code, out, err = bench.call("fails")
    assert (code, out) == (1, "")
    assert err.startswith("Traceback (most recent call last):\n  File")
    assert err.endswith("ValueError: too small\n")
    assert [line for line in err.splitlines() if "File" in line and "fails.py" not in line] == []
    assert err.count("File") == 2


def test_open_ended_parameters_have_no_flag_and_stay_empty(bench: SkillBench) -> None:
    bench.write(
        "openended", "async def run(text: str, *more: str, **_: object) -> str:\n    return f'{text}{more}{_}'\n"
    )
    assert bench.call("openended", "--text", "a").out == "a(){}\n"
    assert "--more" not in bench.call("openended", "--help").out


@pytest.mark.parametrize(
    ("value", "printed"),
    [
        ("{'a': float('nan'), 'b': float('-inf')}", '{"a":"NaN","b":"-Infinity"}\n'),
        ("[b'abc', 'x']", '["abc","x"]\n'),
        ("[b'\\xff', 'x']", '["_w==","x"]\n'),
        ("'\\ud800'", "\\ud800\n"),
    ],
)
def test_a_value_that_json_cannot_express_is_still_printed(bench: SkillBench, value: str, printed: str) -> None:
    bench.write("odd", f"async def run() -> object:\n    return {value}\n")
    code, out, err = bench.call("odd")
    assert (code, out, err) == (0, printed, "")


def test_bytes_are_printed_as_they_are(bench: SkillBench, tmp_path: Path) -> None:
    bench.write("raw", "async def run() -> bytes:\n    return b'\\xff\\x00'\n")
    done = subprocess.run(
        [sys.executable, bench.path / "bin/raw"], env=bench.environment(), capture_output=True, check=True
    )
    assert done.stdout == b"\xff\x00"
