"""Cells put links, pipes and folders where the host stores or expects files: nothing outside may be read or written."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from rlm_testkit.cli import Rlm
from rlm_testkit.scripted import Answer, Request, Scripted, always, by_turn, call, text

pytestmark = pytest.mark.attack("leading the host's files elsewhere")

SECRET = "private-0123456789"
KEY = "sk-planted-0123456789abcdef"
Make = Callable[[Scripted], Rlm]


def make_home(command: Rlm) -> Path:
    """Create a home with a secret in it. Nothing may be written there, and the secret must not leave it."""
    home = Path(command.env()["HOME"])
    (home / "secret").write_text(SECRET)
    return home


def make_device(path: Path) -> None:
    """Create a device whose content never ends, like /dev/zero."""
    os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5))


NO_FILES: list[Callable[[Path], object]] = [os.mkfifo, Path.mkdir, *([make_device] if os.geteuid() == 0 else [])]
"""Objects in the place of a regular file. Only root can create a device."""


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {".local", ".cache", ".ipython"}


def sent_to(server: Scripted) -> str:
    """All data that the provider received."""
    return "".join(str(request.body) for request in server.requests)


def script(cells: list[str]) -> Callable[[Request], Answer]:
    """The root runs these cells; a test may add some later. A child runs a cell that reads its context."""
    child = [call("ipython", code="print(open('data.csv').read(), open('prompt.md').read())"), text("child")]

    def answer(request: Request) -> Answer:
        root = [*(call("ipython", code=cell) for cell in cells), text("the answer")]
        return by_turn(*(root if request.depth == 0 else child))(request)

    return answer


PLANT = """
import os, shutil
HOME = {home!r}
for name in ('data.csv', 'prompt.md', 'AGENTS.md', '.agents/skills/one/SKILL.md', 'out/answer.txt'):
    os.path.lexists(name) and os.remove(name)
    os.symlink(HOME + '/secret', name)
os.rename('out', 'moved')
os.symlink(HOME, 'out')
"""


@pytest.mark.parametrize("sandbox", ["bwrap", "off"])
def test_paths_of_the_user_are_not_resolved_again(rlm: Make, sandbox: str) -> None:
    cells: list[str] = []
    with Scripted(script(cells)) as server:
        command = rlm(server)
        home, work = make_home(command), command.cwd
        cells += [
            PLANT.format(home=str(home)),
            "print(await rlm.run('child'))",
            "import os; os._exit(1)",  # the next kernel loads `context` again
            "print(len(context))",
        ]
        for name in ("out", ".agents/skills/one"):
            (work / name).mkdir(parents=True)
        for name, content in (("data.csv", "data"), ("prompt.md", "The prompt"), ("AGENTS.md", "rules")):
            (work / name).write_text(content)
        before = names(home)
        done = command(
            *("go", "-o", "out/answer.txt", "--system-prompt-path", "prompt.md", "--context", "data.csv"),
            *("--max-depth", "1", "--sandbox", sandbox),
            timeout=120,
        )
    assert done.code == 0, done.err
    assert done.out == "the answer\n" == (work / "moved" / "answer.txt").read_text()
    assert not (work / "moved" / "answer.txt").is_symlink()
    assert names(home) == before
    assert (home / "secret").read_text() == SECRET
    assert done.session.results[-1] == "4\n", "a later kernel gets the original context, too"
    systems = [request.messages[0]["content"] for request in server.requests]
    assert set(systems) == {"The prompt"}
    if sandbox == "bwrap":  # without a sandbox a cell may read everything that its user may read
        assert SECRET not in sent_to(server)
        assert SECRET not in "".join(str(each.records) for each in (done.session, *done.session.children))


@pytest.mark.parametrize("sandbox", ["bwrap", "off"])
def test_the_folder_of_a_sub_agent_is_not_followed_if_it_has_become_a_link(rlm: Make, sandbox: str) -> None:
    """The cell replaces it after the child has begun, and before the child's kernel and command start there."""
    outside: list[Path] = []

    def answer(request: Request) -> Answer:
        if request.depth == 0:
            return by_turn(call("ipython", code="print(await rlm.run('child', cwd='sub'))"), text("end"))(request)
        if request.turn == 0:
            (command.cwd / "sub").rename(command.cwd / "moved")
            (command.cwd / "sub").symlink_to(outside[0])
        touch = [call("bash", command="touch bash"), call("ipython", code="open('ipython', 'w')"), text("child")]
        return by_turn(*touch)(request)

    with Scripted(answer) as server:
        command = rlm(server)
        outside.append(make_home(command))
        (command.cwd / "sub").mkdir()
        done = command("go", "--tools", "ipython,bash", "--max-depth", "1", "--sandbox", sandbox, timeout=120)
    (child,) = done.session.children
    assert names(outside[0]) == {"secret"}
    assert names(command.cwd / "moved") == set()
    if sandbox == "off":  # in the sandbox the link leads to an empty folder instead
        for result in (child.results[0], done.session.results[0]):  # of the command, and of the kernel
            assert "sub is a symbolic link" in result


@pytest.mark.parametrize("sandbox", ["bwrap", "off"])
def test_agents_read_nothing_from_outside(rlm: Make, sandbox: str) -> None:
    """Also nothing that an earlier run left in the project."""
    with Scripted(always(text("end"))) as server:
        command = rlm(server)
        home, work = make_home(command), command.cwd
        (work / "docs").mkdir()
        (work / "docs" / "AGENTS.md").write_text("inner rules")
        (work / "AGENTS.md").symlink_to("docs/AGENTS.md")
        for number, target in enumerate((home / "secret", Path("../../../../home/secret"), Path("/proc/self/environ"))):
            skill = work / ".agents" / "skills" / f"s{number}"
            skill.mkdir(parents=True)
            (skill / "SKILL.md").symlink_to(target)
        os.mkfifo(work / ".agents" / "skills" / "pipe")
        (work / ".agents" / "skills" / "s3").mkdir()
        os.mkfifo(work / ".agents" / "skills" / "s3" / "SKILL.md")
        assert command("go", "--sandbox", sandbox, "--tools", "bash", OPENAI_API_KEY=KEY).code == 0
        (work / "AGENTS.md").unlink()
        for plant in (lambda path: path.symlink_to(home / "secret"), *NO_FILES):
            plant(work / "AGENTS.md")
            assert command("go", "--sandbox", sandbox, "--tools", "bash", OPENAI_API_KEY=KEY).code == 0
            (work / "AGENTS.md").rmdir() if (work / "AGENTS.md").is_dir() else (work / "AGENTS.md").unlink()
    assert "inner rules" in str(server.requests[0].body)
    assert SECRET not in sent_to(server)
    assert KEY not in sent_to(server)


def test_an_output_that_is_not_a_regular_file_is_refused_before_the_run(without_tools: Make) -> None:
    with Scripted(text("never")) as server:
        command = without_tools(server)
        home, work = make_home(command), command.cwd
        (work / "link").symlink_to(home / "secret")
        (work / "broken").symlink_to(home / "new")
        os.mkfifo(work / "pipe")
        (work / "folder").mkdir()
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(work / "socket"))
        for name in ("link", "broken", "pipe", "folder", "socket"):
            for words in (("-o", name, "go"), ("export", "-o", name)):
                done = command(*words)
                assert done.code in ((2,) if words[0] == "-o" else (1, 2)), done.err
                assert done.err.count("\n") <= 2
        assert not server.requests
    assert names(home) == {"secret"}
    assert (home / "secret").read_text() == SECRET


PLANT_IN_SESSION = """
import glob, os, socket
HOME = {home!r}
(session,) = glob.glob('.rlm/sessions/*[0-9a-f]')
os.makedirs(session + '/meta.json.new/full')
outputs = session + '/outputs'
os.symlink(HOME + '/secret', outputs + '/bash.txt')
os.mkfifo(outputs + '/pipe')
socket.socket(socket.AF_UNIX).bind(outputs + '/socket')
os.link(HOME + '/keyed', outputs + '/twin')
{outputs}
"""
FIGURE = "from IPython.display import Image\nImage(bytes.fromhex('89504e470d0a1a0a'), format='png')"


@pytest.mark.parametrize("moved", [False, True])
def test_outputs_are_written_and_redacted_only_in_their_folder(rlm: Make, moved: bool) -> None:
    """Without a sandbox a cell can change the session's folder, too."""
    cells: list[str] = []
    with Scripted(script(cells)) as server:
        command = rlm(server)
        home = make_home(command)
        (home / "keyed").write_text(f"{KEY} is here")
        move = "os.rename(outputs, session + '/old'); os.symlink(HOME, outputs)" if moved else ""
        plant = PLANT_IN_SESSION.format(home=str(home), outputs=move)
        cells += [plant.replace("os.makedirs", "None and os.makedirs"), "print('x' * 5000)", FIGURE]
        before = names(home)
        done = command("go", RLM_MAX_OUTPUT="100", RLM_IMAGES="on", OPENAI_API_KEY=KEY, timeout=120)
    assert done.code == 0, done.err
    assert names(home) == before
    assert (home / "secret").read_text() == SECRET
    assert (home / "keyed").read_text() == f"{KEY} is here"
    assert SECRET not in sent_to(server)


def test_commands_on_sessions_do_not_wait_for_pipes(without_tools: Make) -> None:
    with Scripted(text("end"), text("end")) as server:
        command = without_tools(server)
        home = make_home(command)
        done = command("go")
    folder = done.session.folder
    for name in ("meta.json", "messages.jsonl"):
        content = (folder / name).read_bytes()
        plants: list[Callable[[Path], object]] = [*NO_FILES, lambda path: path.symlink_to(home / "secret")]
        for plant in plants:
            (folder / name).unlink()
            plant(folder / name)
            for words in (("ls",), ("show",), ("export",), ("resume", "more")):
                reported = command(*words, timeout=60)
                assert reported.code in (0, 1, 2)
                assert SECRET not in reported.out + reported.err
                assert "Traceback" not in reported.err
                assert "bug" not in reported.err
            (folder / name).rmdir() if (folder / name).is_dir() else (folder / name).unlink()
            (folder / name).write_bytes(content)
    assert (home / "secret").read_text() == SECRET


def test_a_home_behind_a_link_of_the_user_works(without_tools: Make) -> None:
    with Scripted(text("one"), text("two")) as server:
        command = without_tools(server)
        (command.folder / "real").mkdir()
        (command.folder / "link").symlink_to("real")
        home = {"RLM_HOME": str(command.folder / "link" / "rlm")}
        assert command("go", **home).code == 0
        assert command("ls", **home).out.count("\n") >= 1
        assert "one" in command("show", **home).out
        assert command("resume", "more", **home).out == "two\n"
