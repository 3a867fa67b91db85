"""RLM_SANDBOX=bwrap: nothing gets out, everything else works, and what rlm reports about it.

These tests need bubblewrap. Without it they fail, as the sandbox does.
"""

from __future__ import annotations

import json
import os
import re
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from rlm_testkit.breakouts import BREAKOUTS, Breakout
from rlm_testkit.cli import Done, Rlm
from rlm_testkit.git import git
from rlm_testkit.scripted import Answer, Request, Scripted, always, by_turn, call, hang, text

SECRET = "sk-secret-0123456789abcdef"
LIMITS = {"RLM_SANDBOX_MEMORY": "1000", "RLM_SANDBOX_FILE_SIZE": "50"}

Make = Callable[[Scripted], Rlm]


@pytest.fixture
def sandboxed(rlm: Make) -> Make:
    """The command in a git repository, with a key, and with the sandbox."""

    def make(server: Scripted) -> Rlm:
        bare = rlm(server)
        command = replace(
            bare, environment={**bare.environment, "RLM_SANDBOX": "bwrap", "RLM_API_KEY": SECRET, **LIMITS}
        )
        git(command.cwd, "init", "--quiet", env=command.env())
        return command

    return make


def run_cells(make: Make, cells: list[str], *flags: str, **env: str) -> tuple[Done, list[str]]:
    with Scripted(*(call("ipython", code=cell) for cell in cells), text("end")) as server:
        done = make(server)("go", *flags, timeout=120, RLM_MAX_TURNS="200", **env)
    assert 0 == done.code, done.err
    return done, done.session.results


# ---- escapes


@contextmanager
def attack_targets(command: Rlm, folder: Path) -> Iterator[dict[str, object]]:
    """Targets of the attacks: a secret in the home, another program's folder and sockets."""
    planted = Path(command.env()["HOME"]) / ".ssh" / "id_ed25519"
    planted.parent.mkdir(parents=True)
    planted.write_text(f"private {SECRET}")
    recording = planted.with_name("turns.jsonl")
    recording.write_text(json.dumps({"task": "x", "message": {"role": "assistant", "content": "recorded"}}))
    tmp = folder / "other"
    tmp.mkdir()
    (tmp / "file").touch()
    with (
        _listening(socket.AF_UNIX, str(tmp / "socket")),
        _listening(socket.AF_UNIX, f"\0{tmp}"),
        _listening(socket.AF_INET, ("127.0.0.1", 0)) as port,
    ):
        yield {
            "SECRET": SECRET,
            "PLANTED": str(planted),
            "RECORDING": str(recording),
            "TMP": str(tmp),
            "PORT": port,
            "SPACES": [
                str(path.readlink()) for path in Path("/proc/self/ns").iterdir() if not path.name.startswith("time")
            ],
        }


@contextmanager
def _listening(family: socket.AddressFamily, address: str | tuple[str, int]) -> Iterator[object]:
    with socket.socket(family) as server:
        server.bind(address)
        server.listen()
        yield server.getsockname()[1] if family == socket.AF_INET else address


def attempt(breakout: Breakout) -> str:
    body = breakout.code.replace("\n", "\n    ")
    return f"got = None\ntry:\n    {body}\nexcept BaseException as e:\n    print('denied', type(e).__name__)\nelse:\n    print('got it' if got else 'denied')"


def outcomes(make: Make, folder: Path, breakouts: list[Breakout], **env: str) -> dict[str, str]:
    """The last line of each result, by name. HOST is added by the test: a cell could guess rlm's process id."""
    cells = [attempt(breakout) for breakout in breakouts]

    def script(request: Request) -> Answer:
        turn = request.turn
        if request.depth:
            return text("a child's answer")
        if turn == 0:
            return call("ipython", code="\n".join(f"{name} = {value!r}" for name, value in facts.items()))
        return call("ipython", code=cells[turn - 1]) if turn <= len(cells) else text("end")

    with Scripted(script) as server:
        command = make(server)
        with attack_targets(command, folder) as facts:
            others = {"GITHUB_TOKEN": "ghp_1234567890", "SSH_AUTH_SOCK": "/run/user/1000/agent"}
            process = command.start("go", RLM_MAX_TURNS="200", RLM_MAX_DEPTH="1", **others, **env)
            facts["HOST"] = process.pid
            _, err = process.communicate(timeout=120)
        done = Done(process.returncode, "", err.decode(), command.cwd)
    assert 0 == done.code, done.err
    results = done.session.results[1:]
    return {breakout.name: output.strip().splitlines()[-1] for breakout, output in zip(breakouts, results, strict=True)}


@pytest.mark.attack("breaking out of the sandbox")
def test_nobody_breaks_out(sandboxed: Make, tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    record_property("attempts", len(BREAKOUTS))
    seen = outcomes(sandboxed, tmp_path, list(BREAKOUTS))
    assert len(seen) >= 75
    assert [] == [f"{name}: {output}" for name, output in seen.items() if not output.startswith("denied")]
    assert [] == [f"{name}: was not even tried" for name, output in seen.items() if output == "denied ImportError"]


def test_without_the_sandbox_the_same_attempts_succeed(sandboxed: Make, tmp_path: Path) -> None:
    tried = [breakout for breakout in BREAKOUTS if breakout.bare]
    seen = outcomes(sandboxed, tmp_path, tried, RLM_SANDBOX="off")
    assert [] == [f"{name}: {output}" for name, output in seen.items() if output != "got it"]


# ---- the other tools, sub-agents, and the host itself


def test_the_other_tools_are_confined_too(sandboxed: Make, tmp_path: Path) -> None:
    """Commands run in the kernel's sandbox. A file can be edited if a command could have written it."""
    outside = tmp_path / "outside"
    outside.write_text("one")
    with Scripted(
        call("ipython", code="import http.server, threading\nserver = http.server.HTTPServer(('127.0.0.1', 8765), "
             "http.server.SimpleHTTPRequestHandler)\nthreading.Thread(target=server.serve_forever, daemon=True).start()"),
        call("bash", command="ls ~/.ssh /run; echo hi > .git/hooks/pre-commit; pwd; grep NoNewPrivs /proc/self/status"),
        call("bash", command="echo one > file; sleep 60 & curl -s http://127.0.0.1:8765/file"),
        call("edit", path="file", old_str="one", new_str="two"),
        call("edit", path="nowhere", old_str="one", new_str="two"),
        call("edit", path=".git/config", old_str="[core]", new_str="[core]\n\tfsmonitor = evil"),
        call("edit", path=str(outside), old_str="one", new_str="two"),
        text("end"),
    ) as server:  # fmt: skip
        command = sandboxed(server)
        done = command("go", "--tools", "ipython,bash,edit")
    _, listing, fetched, edited, missing, config, other = done.session.results
    assert "cannot access" in listing
    assert "Read-only file system" in listing
    assert f"{command.cwd}\nNoNewPrivs:\t1\n[exit code: " not in listing
    assert f"{command.cwd}\nNoNewPrivs:\t1" in listing
    assert "one" == fetched.strip()
    assert "file is now:\n1\ttwo" == edited
    assert "two\n" == (command.cwd / "file").read_text()
    assert "nowhere was not changed: No such file or directory." in missing
    assert "was not changed" in config
    assert "fsmonitor" not in (command.cwd / ".git" / "config").read_text()
    assert "was not changed" in other
    assert "one" == outside.read_text()


def test_a_child_is_confined_in_the_same_way_in_every_folder(sandboxed: Make, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()

    def script(request: Request) -> Answer:
        if request.depth:
            return by_turn(call("bash", command="touch /etc/rlm-was-here .git/config x; ls"), text("done"))(request)
        cell = "r = await rlm.run('a', cwd={}, tools='bash')\nprint(r.answer)"
        cells = [cell.format(repr(str(place))) for place in ("sub", "/etc", outside)]
        return call("ipython", code=cells[request.turn]) if request.turn < len(cells) else text("end")

    with Scripted(script) as server:
        command = sandboxed(server)
        (command.cwd / "sub").mkdir()
        done = command("go", RLM_MAX_DEPTH="1")
    output = [child.results[0] for child in done.session.children]
    assert 3 == len(output)
    assert all("cannot touch '/etc/rlm-was-here'" in text or "could not be started" in text for text in output)
    assert (command.cwd / "sub" / "x").exists()
    assert not any(outside.iterdir())


@pytest.mark.attack("changing the sandbox of a child")
def test_changes_of_a_cell_do_not_change_the_sandbox_of_a_child(rlm: Make, tmp_path: Path) -> None:
    """There was no repository before the run, so nothing was protected; protected folders cannot be moved.

    Relative links, and links into bwrap's old root, lead to other places while bwrap mounts.
    """
    tricks = {
        "a repository that is a relative link": "os.symlink(os.path.relpath(HOME), '.git')",
        "parts of one that are relative links": "os.mkdir('.git')\nfor part in PARTS: os.symlink(os.path.relpath(HOME, '.git'), '.git/' + part)",
        "a repository that is a link": "os.symlink(HOME, '.git')",
        "a part of one": "os.mkdir('.git')\nos.symlink(HOME, '.git/modules')\nos.symlink(HOME, '.git/hooks')",
        "a repository that is a link to the old root": "os.symlink('/oldroot' + HOME, '.git')",
        "a folder for programs": "shutil.rmtree('bin')\nos.symlink(HOME, 'bin')",
        "the context": "os.unlink('data')\nos.symlink(HOME + '/.ssh/id_ed25519', 'data')",
        "the editor's settings": "os.rmdir('.vscode')\nos.symlink(HOME, '.vscode')",
        "the editor's settings, moved": "os.rename('.vscode', 'x')\nos.symlink(HOME, '.vscode')",
        "the sessions": "os.rename('.rlm', 'x')\nos.symlink(HOME, '.rlm')",
    }
    clean = "shutil.rmtree('.git', ignore_errors=True) if not os.path.islink('.git') else os.unlink('.git')"
    look = "cat .git/.ssh/* .git/modules/.ssh/* bin/.ssh/* .vscode/.ssh/* data; grep -rs sk-secret ~ . --exclude-dir=.rlm; touch ~/x .git/x"
    cells = [
        f"import os, shutil\nHOME, PARTS = {str(tmp_path / 'home')!r}, ('modules', 'hooks', 'worktrees')\ntry:\n    {trick.replace(chr(10), chr(10) + '    ')}\nexcept OSError as e: print(e)\n"
        f"r = await rlm.run('a', tools='bash')\nprint(r.answer)\n{clean}"
        for trick in tricks.values()
    ]  # fmt: skip
    # finally the root's own sandbox, which is created again after it breaks
    cells += [
        "import os\nos.path.lexists('data') and os.unlink('data')\nos.symlink('../home/.ssh/id_ed25519', 'data')\nos.kill(2, 9)\n!sleep 60",
        f"!{look}",
    ]

    def script(request: Request) -> Answer:
        if request.depth:
            return by_turn(call("bash", command=look), text("looked"))(request)
        return call("ipython", code=cells[request.turn]) if request.turn < len(cells) else text("end")

    with Scripted(script) as server:
        command = replace(rlm(server), environment={**rlm(server).environment, "RLM_SANDBOX": "bwrap"})
        home = Path(command.env()["HOME"])
        (home / ".ssh").mkdir(parents=True)
        (home / ".ssh" / "id_ed25519").write_text(f"private {SECRET}")
        (command.cwd / "bin").mkdir()
        (command.cwd / "data").write_text("harmless")
        path = f"{command.cwd / 'bin'}:{os.environ['PATH']}"
        done = command("go", "--context", str(command.cwd / "data"), RLM_MAX_DEPTH="1", PATH=path, timeout=200)
    assert 0 == done.code, done.err
    assert tmp_path / "home" == home
    assert len(cells) == len(done.session.results)
    seen = [child.results for child in done.session.children]
    assert [] == [result for results in (*seen, done.session.results) for result in results if SECRET in result]
    assert {".ssh"} == {path.name for path in home.iterdir()} - {".local"}, "it contains the key that signs sessions"
    assert ["id_ed25519"] == [path.name for path in (home / ".ssh").iterdir()]


SPY = """
import glob, os, time
own = {line.split()[0] for line in open('/proc/self/mountinfo')}
known, found = set(os.listdir('/proc')), open('found', 'w')
end = time.monotonic() + 60
while time.monotonic() < end and not os.path.exists('stop'):
    for pid in set(os.listdir('/proc')) - known:
        for name in ('exe', 'cwd', 'root', 'fd/0', 'fd/1', 'fd/2', 'fd/3', 'fd/4', 'mem'):
            try:
                path = f'/proc/{pid}/{name}'
                there, file = (os.readlink(path) if name != 'mem' else '/'), os.open(path, os.O_PATH if name != 'mem' else os.O_RDWR)
                about = dict(line.split(':') for line in open(f'/proc/self/fdinfo/{file}'))
                power = any(int(line.split()[1], 16) for line in open(f'/proc/{pid}/status') if line.startswith('CapEff'))
                if power or (there.startswith('/') and not there.startswith('/memfd:') and about['mnt_id'].strip() not in own):
                    print(path, there, power, file=found, flush=True)
                os.close(file)
            except OSError: pass
print('ended', file=found, flush=True)
"""


@pytest.mark.attack("taking over who enters")
def test_a_command_that_joins_a_sandbox_cannot_be_opened_before_it_drops_its_privileges(sandboxed: Make) -> None:
    spying = f"open('spy.py', 'w').write({SPY!r})\nimport subprocess, sys\nspy = subprocess.Popen([sys.executable, 'spy.py'])"
    with Scripted(
        call("ipython", code=spying),
        *(call("bash", command="true") for _ in range(15)),
        call("ipython", code="open('stop', 'w').close()\nspy.wait()\nprint(open('found').read())"),
        text("end"),
    ) as server:
        done = sandboxed(server)("go", "--tools", "ipython,bash", timeout=120)
    assert "ended" == done.session.results[-1].strip()


def test_context_and_a_child_s_result_cross_the_sandbox(sandboxed: Make, tmp_path: Path) -> None:
    data = tmp_path / "data.txt"
    data.write_text("0123456789" * 100)

    def script(request: Request) -> Answer:
        if request.depth:
            return by_turn(call("ipython", code="print(sum(context))"), text("added"))(request)
        cells = ["print(len(context))", "r = await rlm.run('add it', context=[1, 2, 3])\nprint(r.answer)", "!rlm add"]
        return call("ipython", code=cells[request.turn]) if request.turn < len(cells) else text("end")

    with Scripted(script) as server:
        done = sandboxed(server)("go", "--context", str(data), RLM_MAX_DEPTH="1")
    assert ["1000", "added", "added"] == [output.strip() for output in done.session.results]
    (with_context,) = [child for child in done.session.children if child.meta["prompt_preview"] == "add it"]
    assert "6\n" == with_context.results[0]


@pytest.mark.parametrize(
    ("plant", "do"),
    [
        ("k1.crash", "import os\nos._exit(1)"),
        ("variables.pickle", "import rlm.inside.checkpoint as checkpoint\ncheckpoint.save = lambda path: None"),
        ("skill-calls", "1"),
    ],
)
def test_the_host_follows_no_link_that_a_cell_has_put_in_place_of_a_file(
    sandboxed: Make, tmp_path: Path, plant: str, do: str
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("say()\n" * 20_000)
    cell = (
        "import os\nbase = os.path.dirname(os.environ['RLM_BROKER'].rpartition(':')[0])\n"
        f"path = os.path.join(base, {plant!r})\nos.path.lexists(path) and os.unlink(path)\n"
        f"os.symlink({str(secret)!r}, path)\n{do}"
    )
    done, results = run_cells(sandboxed, [cell, "1"], RLM_CHECKPOINT="1")
    assert "say()" not in "".join(results)
    contents = [path.read_bytes() for path in done.session.folder.rglob("*") if path.is_file()]
    assert not any(b"say()\n" in content for content in contents)


def test_a_sandboxed_kernel_is_interrupted_dies_and_is_replaced_as_any_other(sandboxed: Make) -> None:
    _, (timed_out, contents, died, fresh, broken, back) = run_cells(
        sandboxed,
        [
            "x = 5\nimport time\ntime.sleep(60)",
            "x",
            "import os\nos._exit(3)",
            "import signal\n1",
            "import os\nos.kill(2, signal.SIGKILL)\nimport time\ntime.sleep(60)",
            "40 + 2",
        ],
        RLM_EXEC_TIMEOUT="2",
    )
    assert "the kernel and its variables are kept" in timed_out
    assert "5\n" == contents
    assert "its process exited with code 3. A fresh kernel is ready." in died
    assert "1\n" == fresh
    assert "A fresh kernel is ready." in broken
    assert "42\n" == back


def test_nothing_is_left_when_the_run_is_killed(sandboxed: Make) -> None:
    cell = "import subprocess\nsubprocess.Popen(['sleep', '3600'], start_new_session=True)\nprint('up')"
    with Scripted(call("ipython", code=cell), hang()) as server:
        command = sandboxed(server)
        process = command.start("go")
        server.wait(lambda server: len(server.requests) == 2)
        below = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.communicate()
        assert len(below) >= 5
        psutil.wait_procs(below, timeout=10)
    assert [] == [process for process in below if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]


def test_the_project_contains_only_changes_of_the_run(sandboxed: Make) -> None:
    """Placeholders for protected paths are removed, also those of a killed run."""
    cells = ["open('made', 'w').close()\nopen('.git/commondir', 'w').write('../evil')", "!git status --short"]
    with Scripted(always(hang())) as server:
        command = sandboxed(server)
        process = command.start("go")
        server.wait(lambda server: server.requests)
        process.kill()
        process.communicate()
    assert {".vscode", ".envrc"} < {path.name for path in command.cwd.iterdir()}
    with Scripted(*(call("ipython", code=cell) for cell in cells), text("end")) as server:
        done = sandboxed(server)("go")
    ((denied, status),) = [session.results for session in done.sessions if session.results]
    assert "Read-only file system" in denied
    assert "?? made\n" == status.replace("?? .rlm/\n", "")
    assert {".git", ".rlm", "made"} == {path.name for path in done.cwd.iterdir()}
    assert not {"commondir", "config.worktree"} & {path.name for path in (done.cwd / ".git").iterdir()}


def test_links_to_the_project_and_to_temporary_files_need_not_be_in_the_sandbox(
    sandboxed: Make, tmp_path: Path
) -> None:
    links = tmp_path / "links"
    links.mkdir()
    (tmp_path / "t").mkdir()
    (links / "tmp").symlink_to(tmp_path / "t")

    def make(server: Scripted) -> Rlm:
        command = sandboxed(server)
        work = command.cwd
        work.rename(tmp_path / "project")
        work.symlink_to(tmp_path / "project")
        return command

    _, (output,) = run_cells(make, ["import os\nprint(os.getcwd())"], TMPDIR=str(links / "tmp"))
    assert f"{tmp_path / 'project'}\n" == output


def test_guarded_files_can_be_read(sandboxed: Make) -> None:
    def make(server: Scripted) -> Rlm:
        command = sandboxed(server)
        (command.cwd / ".envrc").write_text("export A=1")
        (command.cwd / ".vscode").mkdir()
        (command.cwd / ".vscode" / "settings.json").write_text("{}")
        return command

    cells = [
        "open('.envrc').read()",
        "open('.vscode/settings.json').read()",
        "open('.envrc', 'w')",
        "open('.vscode/x', 'w')",
    ]
    done, (envrc, settings, *denied) = run_cells(make, cells)
    assert ["'export A=1'\n", "'{}'\n"] == [envrc, settings]
    assert all("Read-only file system" in output for output in denied)
    assert "export A=1" == (done.cwd / ".envrc").read_text()


# ---- normal work

WORK = {
    "git": "!git status --short && echo new > file && git add file && git -c user.name=a -c user.email=a@b commit -qm one && git log --oneline | wc -l\nok = _exit_code == 0",
    "gcc": "open('a.c', 'w').write('int main(){return 7;}')\n!gcc -o a a.c && ./a\nok = _exit_code == 7",
    "venv": "!python3 -m venv --without-pip v && v/bin/python -c 'import sys; print(sys.prefix)'\nok = _exit_code == 0",
    "node": "!node -e 'require(\"http\"); console.log([1,2].map(x => x * 2))'\nok = _exit_code == 0",
    "pytest": "open('test_a.py', 'w').write('def test(tmp_path): (tmp_path / \"x\").write_text(\"y\")')\nimport sys\n!{sys.executable} -m pytest -q test_a.py\nok = _exit_code == 0",
    "multiprocessing": "import multiprocessing\nwith multiprocessing.get_context('fork').Pool(2) as pool: ok = pool.map(abs, [-1, 2]) == [1, 2]",
    "shared memory": "import mmap, os\nassert mmap.mmap(-1, 1 << 20).write(b'x') and os.truncate(os.memfd_create('m'), 1 << 20) is None\nfrom multiprocessing import shared_memory\nm = shared_memory.SharedMemory(create=True, size=10)\nm.buf[0] = 1\nok = m.buf[0]\nm.close(); m.unlink()",
    "pty": "import pty, os\nok = pty.spawn(['sh', '-c', 'test -t 0 && tty'], lambda fd: os.read(fd, 1024)) == 0",
    "a local server": "import http.server, threading, urllib.request\ns = http.server.HTTPServer(('127.0.0.1', 0), http.server.SimpleHTTPRequestHandler)\nthreading.Thread(target=s.serve_forever, daemon=True).start()\nok = urllib.request.urlopen(f'http://127.0.0.1:{s.server_port}/').status == 200",
    "sqlite": "import sqlite3\nd = sqlite3.connect('d.db')\nd.execute('create table t(x)'); d.commit()\nok = True",
    "archives": "!tar czf a.tgz .git && mkdir -p out && tar xzf a.tgz -C out\nok = _exit_code == 0",
    "a build with make": "open('Makefile', 'w').write('all:\\n\\techo built > done\\n')\n!make -s\nok = open('done').read() == 'built\\n'",
    "temporary files": "import tempfile, os\nwith tempfile.TemporaryDirectory() as d: open(d + '/x', 'w').write('y')\nos.makedirs(os.path.expanduser('~/.cache/x'))\nok = True",
    "subprocesses of asyncio": "import asyncio\np = await asyncio.create_subprocess_exec('echo', 'hi', stdout=-1)\nok = (await p.communicate())[0] == b'hi\\n'",
    "its own /proc": "import os\nok = os.listdir('/proc/self/fd') and open('/proc/self/environ').read() is not None",
    "a process pool": "from concurrent.futures import ProcessPoolExecutor\nwith ProcessPoolExecutor(2) as p: ok = list(p.map(abs, [-3])) == [3]",
}  # fmt: skip


def test_normal_work_is_possible(sandboxed: Make) -> None:
    cells = [f"ok = None\n{code}\nprint('RESULT', bool(ok))" for code in WORK.values()]
    limits = {"RLM_SANDBOX_MEMORY": "8192", "RLM_SANDBOX_FILE_SIZE": "4096"}
    _, results = run_cells(sandboxed, cells, **limits)
    assert len(WORK) >= 12
    assert {} == {
        name: output for name, output in zip(WORK, results, strict=True) if not output.endswith("RESULT True\n")
    }


PATHS = re.compile(r"(?:^|[\s(`])(/[^\s()`:;,]+)", re.MULTILINE)


def test_every_path_that_the_prompt_names_exists_in_the_sandbox(tmp_path: Path) -> None:
    """In a folder of a repository whose root, Python and packages are in a home."""
    home, repository, data = tmp_path / "home", tmp_path / "home/repository", tmp_path / "home/data"
    write(repository / ".git", "gitdir: elsewhere\n")
    for folder in (repository, home):
        write(folder / ".agents/skills/notes/SKILL.md", f"---\nname: of-{folder.name}\ndescription: x\n---\n")
        write(folder / ".agents/skills/notes/scripts/help", "help")
    write(home / ".ssh/SKILL.md", "---\nname: out\ndescription: x\n---\n")
    (repository / ".agents/skills/out").symlink_to(home / ".ssh")
    write(repository / "AGENTS.md", "Be kind.")
    write(repository / ".venv/pyvenv.cfg", "")
    (repository / ".venv/bin").mkdir()
    (repository / ".venv/bin/python").symlink_to(sys.executable)
    write(data / f"rlm/packages/{sys.version_info[0]}.{sys.version_info[1]}/added.py", "V = 7")
    write(home / "context.txt", "data")
    variables = {
        "HOME": str(home),
        "XDG_DATA_HOME": str(data),
        "RLM_SANDBOX": "bwrap",
        "RLM_CONTEXT": str(home / "context.txt"),
        "RLM_MODEL": "scripted",
    }
    with Scripted(text("end")) as server:
        Rlm(repository, variables | {"RLM_BASE_URL": server.url})("go")
        reported = sorted(set(PATHS.findall(str(server.requests[0].messages[0]["content"]))))
    assert {
        str(path)
        for path in (
            repository / "work",
            repository / ".agents/skills/notes/SKILL.md",
            home / ".agents/skills/notes/SKILL.md",
            repository / "AGENTS.md",
            repository / ".venv/bin/python",
        )
    } <= set(reported)
    cells = [
        f"import os, added\nadded.V, context, [path for path in {reported} if not os.access(path, os.R_OK)]",
        f"open('{repository}/.agents/skills/notes/scripts/help').read(), os.path.exists('{home}/.ssh')",
        f"!{repository}/.venv/bin/python -c 'print(6 * 7)'",
    ]
    with Scripted(*(call("ipython", code=code) for code in cells), text("end")) as server:
        done = Rlm(repository, variables | {"RLM_BASE_URL": server.url})("go")
    assert ["(7, 'data', [])\n", "('help', False)\n", "42\n"] == max(
        done.sessions, key=lambda each: len(each.results)
    ).results


def write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def test_with_sandbox_net_the_network_is_there_and_the_header_says_so(sandboxed: Make) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        cell = f"import socket\nsocket.create_connection(('127.0.0.1', {server.getsockname()[1]}), 5)\nprint('there')"
        done, (output,) = run_cells(sandboxed, [cell], "--sandbox-net")
    assert "there\n" == output
    assert "sandbox bwrap with network" in done.err.splitlines()[0]


def test_pip_installs_over_the_network(sandboxed: Make) -> None:
    """From the index of this machine, into the project's own venv, and for the agent."""
    index = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_", "UV_INDEX"))}
    cell = (
        "!python3 -m venv v && v/bin/pip install -q six==1.17.0 && v/bin/python -c 'import six; print(six.__version__)'"
    )
    cells_with_pip = [
        "%pip install six==1.17.0\nimport six",
        "import os\nos._exit(1)",
        "import six\nprint(six.__version__)",
    ]
    removed = "%pip uninstall -y six\nimport importlib.util as u\nu.find_spec('six')"
    limits = {"RLM_SANDBOX_MEMORY": "8192", "RLM_SANDBOX_FILE_SIZE": "4096"}
    _, (output, reported, _, again, gone) = run_cells(
        sandboxed, [cell, *cells_with_pip, removed], "--sandbox-net", **index, **limits
    )
    assert "1.17.0" in output.splitlines()
    assert "[for this agent only: removed with the sandbox, in /tmp/rlm-packages]" in reported
    assert "1.17.0\n" == again, "a fresh kernel of the agent has it, too"
    assert "Error" not in gone


# ---- what is reported, and what is refused


def test_the_header_shows_the_level_of_the_sandbox(without_tools: Make) -> None:
    with Scripted(always(text("a"))) as server:
        command = without_tools(server)
        heads = [
            command(*flags).err.splitlines()[0] for flags in (("go",), ("--sandbox", "go"), ("--sandbox=off", "go"))
        ]
    assert ["sandbox off", "sandbox bwrap", "sandbox off"] == [head.split(" · ")[2] for head in heads]


def test_if_it_is_required_but_unavailable_the_run_fails_before_anything_is_done(rlm: Make, tmp_path: Path) -> None:
    with Scripted(text("never")) as server:
        command = rlm(server)
        done = command("--sandbox", "go", PATH=str(tmp_path / "empty"))
        assert [] == server.requests
    assert 2 == done.code
    assert "" == done.out
    assert (
        "rlm: The sandbox needs bubblewrap, which is not installed. Install it: apt-get install bubblewrap\n"
        == done.err
    )
    assert [] == list(command.cwd.iterdir())


REFUSES = "echo 'bwrap: setting up uid map: Permission denied' >&2; exit 1"
BEFORE_BIND_FD = """for word; do case $word in
    --version) echo 'bubblewrap 0.6.2'; exit 0 ;;
    --bind-fd|--ro-bind-fd) echo "bwrap: Unknown option $word" >&2; exit 1 ;;
esac; done"""


@pytest.mark.parametrize(
    ("does", "reported"),
    [
        (REFUSES, "setting up uid map: Permission denied. User namespaces must be allowed"),
        (BEFORE_BIND_FD, "This bubblewrap is too old for the sandbox, which needs its option --bind-fd: install 0.10"),
    ],
)  # fmt: skip
def test_a_bwrap_that_does_not_work_is_reported(rlm: Make, tmp_path: Path, does: str, reported: str) -> None:
    fake = tmp_path / "bin" / "bwrap"
    fake.parent.mkdir()
    fake.write_text(f"#!/bin/sh\n{does}\n")
    fake.chmod(0o755)
    with Scripted(text("never")) as server:
        done = rlm(server)("--sandbox", "go", PATH=f"{fake.parent}:/usr/bin:/bin")
    assert 2 == done.code
    assert reported in done.err
    assert 1 == len(done.err.splitlines())


def test_a_folder_that_cannot_be_protected_is_refused(sandboxed: Make) -> None:
    with Scripted(always(text("never"))) as server:
        command = sandboxed(server)
        (command.cwd / ".vscode").symlink_to("elsewhere")
        linked = command("go")
        home = command("go", HOME=str(command.cwd))
    assert [2, 2] == [linked.code, home.code]
    assert ".vscode, which is a symbolic link" in linked.err
    assert "other users or programs keep data there" in home.err
    assert [] == server.requests


def test_a_resumed_session_is_confined_as_well(sandboxed: Make) -> None:
    with Scripted(call("ipython", code="x = 42"), text("one"), call("ipython", code="print(x)"), text("two")) as server:
        command = sandboxed(server)
        command("go", "--checkpoint")
        done = command("resume", "go on", "--checkpoint")
    assert "sandbox bwrap" in done.err.splitlines()[0]
    assert "42\n" == done.session.results[-1]
