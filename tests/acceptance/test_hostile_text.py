"""behaviour.md: control sequences are removed from texts of models, programs and files before they reach a terminal.

Every hostile string takes every path to a real pseudo-terminal, between two marks. No byte may arrive that controls the
terminal. The harmless rest of each string must arrive, and so must the marks, which a string could hide.
"""

from __future__ import annotations

import json
import re
import sys
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rlm.sessions import Session
from rlm.text.terminal import plain
from rlm_testkit.cli import Rlm
from rlm_testkit.escapes import terminal_text, words
from rlm_testkit.hostile import CORPUS
from rlm_testkit.journals import KEY
from rlm_testkit.pseudoterminal import PseudoTerminal
from rlm_testkit.sample import hostile_sample
from rlm_testkit.scripted import Answer, Request, Scripted, always, call, calls, error, text

Make = Callable[[Scripted], Rlm]


def mark(number: int, string: str) -> str:
    return f"«{number:03}»{string}«/{number:03}»"


MARKED = [mark(*each) for each in enumerate(CORPUS)]
WHOLE = "\n".join(MARKED)
ARGUMENT = WHOLE.replace("\0", "").encode(errors="replace").decode()
"""Strings that are allowed as an argument or a variable."""

BEGIN, END = "«{:03}»", "«/{:03}»"

NO_COLOUR = {"NO_COLOR": "1"}  # otherwise a colour of a string could be taken for one of rlm's


def terminal_output(rlm: Rlm, *words: str, **env: Any) -> bytes:
    """All output of a command to a terminal."""
    with PseudoTerminal(rlm, *words, **{"PAGER": "cat", **NO_COLOUR, **env}) as terminal:
        terminal.end()
    return bytes(terminal.seen)


def assert_all_arrived(output: str, strings: Sequence[str] = MARKED) -> None:
    """Check that the complete harmless part of each of these strings has arrived."""
    output = words(output)
    assert [] == [string for string in strings if words(plain(string)) not in output]


def assert_marks_arrived(output: str, form: str = BEGIN, numbers: Iterable[int] = range(len(CORPUS))) -> None:
    """Check that a mark of each string has arrived. A path may clip the string, or show it as a literal."""
    assert [] == [number for number in numbers if form.format(number) not in output]


# ---- the check itself


def does_something(string: str) -> bool:
    """Decided by the Unicode properties of its characters, not by what rlm does with it."""
    joiners = "\u200b\u200c\u200d\u2060\ufeff\u061c"  # they belong to languages; if they hide something, they must be removed, too
    return any(unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp") and c not in f"\n\t{joiners}" for c in string)


def test_no_hostile_string_is_taken_for_one_of_our_sequences() -> None:
    for string in CORPUS:
        data = mark(0, string).encode(errors="replace")
        if does_something(string):
            for live in (False, True):
                with pytest.raises(AssertionError, match="a terminal obeys this"):
                    terminal_text(data, live=live)
        else:
            assert terminal_text(data) == data.decode()


# ---- a run


def test_the_answer(without_tools: Make) -> None:
    with Scripted(always(text(WHOLE))) as server:
        command = without_tools(server)
        assert_all_arrived(terminal_text(terminal_output(command, "-q", "--plain", "go")))
        assert_marks_arrived(terminal_text(terminal_output(command, "-q", "go")))


def test_lines_of_json_keep_their_value(without_tools: Make) -> None:
    with Scripted(text(WHOLE)) as server:
        output = terminal_text(terminal_output(without_tools(server), "--json", "--deltas", "-q", "go"))
    records = [json.loads(line) for line in output.splitlines()]
    assert "".join(record["text"] for record in records if record["type"] == "delta") == records[-1]["answer"]
    assert records[-1]["answer"] == re.sub("[\ud800-\udfff]", "\ufffd", WHOLE)


# ---- the live tree: it shows three lines and 2,000 characters of a streamed text

PAINTS = re.compile(r"[\r\x08]|[\[\x9b][0-9]*[GK]")
"""If a program prints it, the cursor moves to the left: text there is overwritten, even a mark."""
OPENS = re.compile(r"(\x1b[]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*$")
"""If a program prints it, an unfinished sequence begins: it hides the rest of the line, even a mark."""


def page(numbers: Sequence[int]) -> str:
    """Some of the strings, arranged so that none hides a mark of another."""
    text = ""
    for number in numbers:
        text += "\n" if PAINTS.search(CORPUS[number]) or OPENS.search(text) else "\t"
        text += MARKED[number]
    return text[1:]


def fits(numbers: Sequence[int]) -> bool:
    """Whether they take two lines; the third one marks the end of the page."""
    return len(page(numbers)) < 1_900 and len(page(numbers).splitlines()) < 3


def paged() -> list[list[int]]:
    """The numbers of all strings, divided into pages."""
    found: list[list[int]] = [[]]
    for number in sorted(range(len(CORPUS)), key=lambda number: len(CORPUS[number].splitlines())):
        if fits([*found[-1], number]) or not found[-1]:
            found[-1].append(number)
        else:
            found.append([number])
    return found


PAGES = paged()
SEEN_FROM_ITS_BEGINNING = {number for numbers in PAGES if fits(numbers) for number in numbers}


class WatchedRun:
    """A run whose server can see the output to its terminal."""

    terminal: PseudoTerminal

    def has_printed(self, number: int) -> bool:
        return end_of_page(number).encode() in self.terminal.seen

    def run(self, rlm: Rlm, **env: Any) -> str:
        with PseudoTerminal(rlm, "go", **{**NO_COLOUR, **env}) as self.terminal:
            self.terminal.end()
        return terminal_text(bytes(self.terminal.seen), live=True)


def end_of_page(number: int) -> str:
    return f"[page {number} ends]"


def test_streamed_text_of_the_model(rlm: Make) -> None:
    watched = WatchedRun()

    def script(request: Request) -> Answer:
        number = request.turn
        content = f"{page(PAGES[number])}\n{end_of_page(number)}"
        reply = calls(("none", {}), content=content)
        return replace(
            reply, piece=len(content), gate=lambda piece: b"ends]" not in piece or watched.has_printed(number)
        )

    with Scripted(script) as server:
        output = watched.run(rlm(server), RLM_MAX_TURNS=str(len(PAGES)), RLM_NO_FINAL_ANSWER="1")
    assert_marks_arrived(output, END)
    assert_marks_arrived(output, BEGIN, SEEN_FROM_ITS_BEGINNING)


PRINTING = """
import json, time, urllib.request
for number, page in enumerate(json.load(open("pages.json"))):
    print(page, flush=True)
    while urllib.request.urlopen(f"{URL}/shown/{number}", b"{}").read() != b"True":
        time.sleep(0.01)
"""


def test_output_of_a_running_cell(rlm: Make) -> None:
    """A program's output is first processed as by a terminal, then cleaned for the real one."""
    watched = WatchedRun()

    def script(request: Request) -> Answer:
        if "/shown/" in request.path:
            return Answer(str(watched.has_printed(int(request.path.rpartition("/")[2]))).encode())
        return text("end") if request.turn else call("ipython", code=f"URL = {server.url!r}{PRINTING}")

    with Scripted(script) as server:
        command = rlm(server)
        pages = [f"{page(numbers)}\n{end_of_page(number)}" for number, numbers in enumerate(PAGES)]
        command.cwd.joinpath("pages.json").write_text(json.dumps(pages))
        output = watched.run(command)
    assert_marks_arrived(output, END, {number for number, string in enumerate(CORPUS) if not OPENS.search(string)})
    assert_marks_arrived(output, BEGIN, SEEN_FROM_ITS_BEGINNING - {n for n, s in enumerate(CORPUS) if PAINTS.search(s)})


# ---- permanent lines


def test_the_code_of_cells_and_the_errors_that_they_end_with(rlm: Make) -> None:
    """A line shows the first line of a cell, or for a failed one its beginning and the last line of the error."""
    cells = [f"'''{string}'''" for string in MARKED]
    errors = [f"raise ValueError('''{string}''')" for string in MARKED]
    turn = calls(*(("ipython", {"code": code}) for code in (*cells, *errors)))
    with Scripted(turn, text("end")) as server:
        output = terminal_text(terminal_output(rlm(server), "go"), live=True)
    assert_marks_arrived(output, "'''«{:03}»")
    assert_marks_arrived(output, "raise ValueError('''«{:03}»")
    assert_all_arrived(output, [first_line(string) for string in cells if len(string) < 80 and "\0" not in string])


def first_line(string: str) -> str:
    return string.splitlines()[0]


def test_names_of_tools_that_do_not_exist(rlm: Make) -> None:
    with Scripted(calls(*((string, {}) for string in MARKED)), text("end")) as server:
        output = terminal_text(terminal_output(rlm(server), "go"), live=True)
    assert_all_arrived(output, [string for string in MARKED if len(string) < 80])


FAN_OUT = """
import asyncio, json
tasks = json.load(open("tasks.json"))
len(await asyncio.gather(*(rlm.run(task, tools=()) for task in tasks), return_exceptions=True))
"""


def test_tasks_of_children_and_error_texts_of_a_provider(rlm: Make) -> None:
    """The provider's first reply to each child is a temporary error, and the second one refuses its request."""
    tasks = [" ".join(words(string) for string in MARKED[start : start + 3]) for start in range(0, len(CORPUS), 3)]
    failed: set[str] = set()

    def script(request: Request) -> Answer:
        if not request.depth:
            return text("end") if request.turn else call("ipython", code=FAN_OUT)
        if request.task in failed:
            return error(400, request.task)
        failed.add(request.task)
        return error(503, request.task)

    with Scripted(script) as server:
        command = rlm(server)
        command.cwd.joinpath("tasks.json").write_text(json.dumps(tasks))
        env = {"RLM_MAX_DEPTH": "1", "RLM_MAX_CONCURRENT_AGENTS": "100"}
        output = terminal_text(terminal_output(command, "go", columns=500, lines=120, **env), live=True)
    # with so many agents a retry is shown only in the live row. The terminal has a line for each, so most are seen
    seen_of_retries = [task for task in tasks if words(plain(f"503 Service Unavailable: {task}")) in words(output)]
    assert len(seen_of_retries) > len(tasks) / 2
    assert_marks_arrived(output, "400 Bad Request: «{:03}»", range(0, len(CORPUS), 3))


@pytest.mark.parametrize("env", [{}, {"RLM_DEBUG": "1"}])
def test_a_refusal_of_the_provider(without_tools: Make, env: dict[str, str]) -> None:
    """Error texts are clipped."""
    with Scripted(error(400, WHOLE)) as server:
        output = terminal_text(terminal_output(without_tools(server), "-q", "go", **env))
    assert_marks_arrived(output, BEGIN, range(10))


def test_the_name_of_the_model(without_tools: Make) -> None:
    with Scripted(text("end")) as server:
        output = terminal_text(terminal_output(without_tools(server), "go", RLM_MODEL=ARGUMENT), live=True)
    output = "".join(
        words(output).split()
    )  # in other lines it is wrapped, because it has wide characters without blanks
    assert [] == [each for each in ARGUMENT.split("\n«") if "".join(words(plain(each)).split()) not in output]


def folders(strings: Sequence[str]) -> Path:
    """A path of folders with these strings as names, as many in a name as it can contain."""
    names = [""]
    for string in strings:
        part = string.replace("/", "").replace("\0", "").encode(errors="replace").decode()
        if len(f"{names[-1]}{part}".encode()) > 250:
            names.append("")
        names[-1] += f"{part}\n"
    return Path(*names)


def test_the_folder_that_it_works_in(rlm: Make) -> None:
    """A path has at most 4,096 bytes."""
    with Scripted(lambda _: text("end")) as server:
        command = rlm(server)
        for start in range(0, len(CORPUS), 90):
            cwd = command.cwd / folders(MARKED[start : start + 90])
            cwd.mkdir(parents=True)
            output = terminal_text(terminal_output(command, "go", cwd=cwd, RLM_TOOLS=""), live=True)
            assert_marks_arrived(output, BEGIN, range(start, min(start + 90, len(CORPUS))))


# ---- files


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Rlm:
    """A home with a session that contains the strings in every possible place."""
    command = Rlm(tmp_path_factory.mktemp("kept"))
    hostile_sample(command.cwd / ".rlm", MARKED)
    command.owns_what_is_signed_with(KEY.secret)
    return command


@pytest.mark.parametrize("options", [{}, {"lines": 50}], ids=["at once", "through a pager"])
def test_show(stored: Rlm, options: dict[str, Any]) -> None:
    assert_all_arrived(terminal_text(terminal_output(stored, "show", "--whole", **options)))


def test_a_session_that_is_followed(stored: Rlm) -> None:
    output = terminal_text(terminal_output(stored, "show", "-f"))
    assert_all_arrived(output, [string for string in MARKED if "\n" not in plain(string)])
    assert_marks_arrived(output)
    assert_marks_arrived(output, END)


def test_a_session_in_colours(stored: Rlm) -> None:
    """Code is coloured word by word: pieces of a string are between rlm's own sequences."""
    output = terminal_output(stored, "show", "--whole", NO_COLOR="")
    assert_all_arrived(terminal_text(output, colours=True))


@pytest.mark.parametrize(
    ("format", "ending"), [("chat", "jsonl"), ("atif", "json"), ("ipynb", "ipynb"), ("html", "html")]
)
def test_an_export_at_a_terminal_goes_to_a_file_and_prints_its_name(stored: Rlm, format: str, ending: str) -> None:
    output = terminal_text(terminal_output(stored, "export", "--format", format))
    [file] = stored.cwd.glob(f"rlm-*.{ending}")
    assert output.split() == ["Written", "to", file.name]
    written = file.read_text()
    if format == "html":
        assert_marks_arrived(written)
        assert_marks_arrived(written, END)
    else:
        piped = stored("export", "--format", format).out
        parts = [text.splitlines() if format == "chat" else [text] for text in (written, piped)]
        assert [json.loads(part) for part in parts[0]] == [json.loads(part) for part in parts[1]]


def test_the_list_of_sessions(tmp_path: Path) -> None:
    """meta.json may be written by a stranger, because rlm also works in their folders."""
    command = Rlm(tmp_path)
    for string in MARKED:
        with Session.create(command.cwd / ".rlm", model="m", cwd=command.cwd, prompt=f"task {string}") as session:
            pass
        meta = session.folder / "meta.json"
        meta.write_text(
            json.dumps(json.loads(meta.read_text()) | {"cwd": string, "status": "limit", "stop_reason": string})
        )
    output = terminal_text(terminal_output(command, "ls"))
    assert_all_arrived(output, MARKED)
    assert_all_arrived(output, [f"task {words(string)}" for string in MARKED])
    assert len(CORPUS) == len(terminal_text(terminal_output(command, "ls", "--json")).splitlines())


def test_a_session_that_is_resumed(without_tools: Make, tmp_path: Path) -> None:
    """The user trusts a session that a stranger may have written."""
    with Scripted(text("first"), text("second")) as server:
        command = without_tools(server)
        session = command("go").session
        meta = session.folder / "meta.json"
        stored = json.loads(meta.read_text()) | {"model": WHOLE, "settings": {"append_to_system_prompt": WHOLE}}
        meta.write_text(json.dumps(stored))
        command = replace(command, environment={"RLM_BASE_URL": server.url})  # no model: the session's is used
        output = terminal_text(terminal_output(command, "resume", session.folder.name, "--trust", "more"), live=True)
        meta.write_text(json.dumps(stored | {"cwd": ARGUMENT}))
        after_removal = terminal_text(terminal_output(command, "resume", session.folder.name, "--trust"))
    assert_all_arrived(output)
    assert "second" in output
    assert "which no longer exists" in after_removal
    assert_marks_arrived(after_removal)


# ---- arguments, variables and files

REFUSED = [
    ("--max-turns", ARGUMENT, "go"),
    ("--max-output", ARGUMENT, "go"),
    ("--exec-timeout", ARGUMENT, "go"),
    ("--model-params", ARGUMENT, "go"),
    ("--color", ARGUMENT, "go"),
    ("--system-prompt-path", ARGUMENT, "go"),
    ("--context", ARGUMENT, "go"),
    ("--model", f"replay:{ARGUMENT}", "go"),
    ("--output", f"{ARGUMENT}/x", "go"),
    ("go", ARGUMENT),
    ("resume", ARGUMENT, "go"),
    ("resume", "go", "on", ARGUMENT),
    ("show", ARGUMENT),
    ("export", ARGUMENT),
    ("export", f"{ARGUMENT}*"),
    ("export", "--format", ARGUMENT),
    ("skills", ARGUMENT),
    ("skills", "new", ARGUMENT),
    ("skills", "check", ARGUMENT),
    ("ls", "--home", ARGUMENT),
    ("show", "--home", ARGUMENT),
    ("go", "--home", f"/proc/{ARGUMENT}"),
]
"""Invalid commands, whose errors quote the invalid argument."""


@pytest.mark.parametrize("command", REFUSED, ids=lambda command: " ".join(command).split("«")[0])
def test_refused_arguments_are_quoted(rlm: Make, command: tuple[str, ...]) -> None:
    with Scripted(text("never")) as server:
        output = terminal_text(
            terminal_output(rlm(server), *command, RLM_TOOLS=""), live="--home" in command or "--model" in command
        )
    assert_marks_arrived(output)
    assert_marks_arrived(output, END)


def test_refused_variables_are_quoted(alone: Rlm) -> None:
    """A base URL is checked by the SDK, whose error text is shown."""
    for name in ("RLM_TOOLS", "RLM_SANDBOX", "RLM_BASE_URL"):
        output = terminal_text(terminal_output(alone, "go", **{name: ARGUMENT}), live=True)
        assert_marks_arrived(output)


def skill(folder: Path, name: str, strings: Sequence[str]) -> None:
    """Install a skill that fails with these strings, and contains them in its description."""
    reply = " ".join(strings).replace("\0", "")
    package, about = folder / name, folder / f"rlm_skill_{name}-1.dist-info"
    package.mkdir(parents=True)
    package.joinpath("__init__.py").write_text(f"from .{name} import run")
    package.joinpath(f"{name}.py").write_text(f"raise ValueError({reply!r})\nasync def run() -> None: ...")
    about.mkdir()
    about.joinpath("METADATA").write_bytes(
        f"Version: {first_line(reply)}\nSummary: {first_line(reply)}\n".encode(errors="replace")
    )
    about.joinpath("direct_url.json").write_text(json.dumps({"url": reply}))
    about.joinpath("entry_points.txt").write_text(f"[console_scripts]\n{name} = rlm.skill:cli\n")


def installed_with(site: Path, command: Path) -> Path:
    """A command `rlm` whose environment contains these skills."""
    program = f"import sys\nsys.path.append({str(site)!r})\nfrom rlm.cli.main import main\nmain()\n"
    command.write_text(f"#!{sys.executable}\n{program}")
    command.chmod(0o755)
    return command


def test_errors_and_descriptions_of_skills(alone: Rlm, tmp_path: Path) -> None:
    for number, string in enumerate(MARKED):
        folder = alone.cwd / ".agents" / "skills" / str(number)
        folder.mkdir(parents=True)
        quoted = json.dumps(string)  # YAML accepts JSON strings
        folder.joinpath("SKILL.md").write_text(f'---\nname: "{number}"\ndescription: {quoted}\n---\n')
    starts = range(0, len(CORPUS), 12)
    for start in starts:
        skill(tmp_path / "site", f"skill{start}", MARKED[start : start + 12])
    output = terminal_text(
        terminal_output(replace(alone, command=installed_with(tmp_path / "site", tmp_path / "rlm")), "skills")
    )
    assert_marks_arrived(output, "    from «{:03}»", starts)
    assert_marks_arrived(output, "    «{:03}»")
    assert_marks_arrived(output, END)


def test_the_findings_of_the_doctor(rlm: Make) -> None:
    with Scripted(text("never"), models=[WHOLE]) as server:
        command = rlm(server)
        outputs = [
            terminal_text(terminal_output(command, "doctor", RLM_MODEL="another")),
            terminal_text(terminal_output(command, "doctor", RLM_MODEL=ARGUMENT)),
            terminal_text(terminal_output(command, "doctor", RLM_BASE_URL=ARGUMENT)),
        ]
    for each in outputs[:2]:
        assert_marks_arrived(each)
        assert_marks_arrived(each, END)
    assert_marks_arrived(outputs[2], BEGIN, [0])  # the report shows the start of an invalid URL
