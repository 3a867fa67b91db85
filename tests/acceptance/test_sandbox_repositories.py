"""Repositories that a sandboxed run creates or changes: what would run a program is reported, and made harmless."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from rlm.sandbox import Inspection
from rlm.sandbox.git import git_access
from rlm.sandbox.repositories import survey
from rlm_testkit.cli import Done, Rlm
from rlm_testkit.repository_attacks import PREAMBLE, REPOSITORY_ATTACKS, RepositoryAttack
from rlm_testkit.scripted import Scripted, call, hang, text

Make = Callable[[Scripted], Rlm]


def script(attack: RepositoryAttack, marks: Path, body: str) -> str:
    """Run the script in the attack's folder. An attack that fails affects no other."""
    mark = marks / attack.name
    program = f"mkdir -p {attack.name}; cd {attack.name}; MARK={mark}; E=$PWD/e; printf '#!/bin/sh\\ntouch {mark}\\n' > $E; chmod +x $E"
    return f"{PREAMBLE}\n( {program}\n{body}\n) </dev/null"


def outside(command: Rlm, cwd: Path, scripts: Iterable[str]) -> str:
    """Run these scripts as the user does, outside of the sandbox."""
    return subprocess.run(
        ["bash", "-c", "\n".join(scripts)], cwd=cwd, env=command.env(), capture_output=True, check=False, timeout=120
    ).stderr.decode()


def run(make: Make, commands: list[str], *flags: str, before: str = "true", **env: str) -> tuple[Rlm, Done]:
    with Scripted(*(call("bash", command=each) for each in commands), text("end")) as server:
        command = replace(make(server), environment={**make(server).environment, "RLM_SANDBOX": "bwrap"})
        assert "fatal" not in outside(command, command.cwd, [PREAMBLE, before])
        done = command("go", *flags, RLM_TOOLS="bash", timeout=120, **env)
    assert 0 == done.code, done.err
    return command, done


def errors(done: Done) -> list[str]:
    return [record["reason"] for record in done.session.records if record["type"] == "error"]


@pytest.mark.attack("git, after the run")
def test_git_runs_nothing_that_a_cell_has_planted(
    rlm: Make, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    record_property("attempts", len(REPOSITORY_ATTACKS))
    marks = tmp_path / "marks"
    marks.mkdir()
    prepare = "\n".join(script(attack, marks, attack.prepared or "true") for attack in REPOSITORY_ATTACKS)
    plant = "\n".join(script(attack, marks, attack.plant) for attack in REPOSITORY_ATTACKS)
    command, done = run(rlm, [plant], before=f"git init -q; {prepare}")
    outside(command, command.cwd, (script(attack, marks, attack.use) for attack in REPOSITORY_ATTACKS))
    assert [] == [mark.name for mark in marks.iterdir()]
    warnings = [line for line in errors(done) if "This run changed " in line]
    untold = [
        (attack.name, [line for line in warnings if attack.name in line])
        for attack in REPOSITORY_ATTACKS
        if not any(attack.name in line and attack.reported in line for line in warnings)
    ]
    assert [] == untold
    assert all("Moved aside: " in line and "could not" not in line for line in warnings)


def test_without_the_sandbox_the_same_attacks_succeed(alone: Rlm, tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    outside(alone, alone.cwd, ["git init -q"])
    for body in ("prepared", "plant", "use"):
        for mark in marks.iterdir():
            mark.unlink()
        outside(alone, alone.cwd, (script(each, marks, getattr(each, body) or "true") for each in REPOSITORY_ATTACKS))
    assert {attack.name for attack in REPOSITORY_ATTACKS} == {mark.name for mark in marks.iterdir()}


HARMLESS = """
git init -q plain && cd plain && git config user.name a && git config user.email a@b && git remote add origin ssh://x/y.git
echo 1 > f && git add f && git commit -qm f && git branch --set-upstream-to=master 2>/dev/null; git worktree add -q ../tree
cd .. && git clone -q plain clone && git clone -q --bare plain bare.git && git clone -q --depth 1 file://$PWD/plain shallow
cd clone && git -c protocol.file.allow=always submodule --quiet add ../plain sub && git commit -qm s
cd .. && git -c protocol.file.allow=always clone -q --recurse-submodules clone whole
cd old && git commit -qam more && git checkout -q -b other && git stash list && git gc -q
"""


def test_repositories_that_run_nothing_are_unchanged(rlm: Make) -> None:
    """Also programs that a user's own repository ran before the run, because they do not come from it."""
    old = (
        "repository old; git -C old config core.fsmonitor false; git -C old config alias.x '!ls'; "
        "printf '#!/bin/sh\\nexit 0\\n' > old/.git/hooks/pre-commit; chmod +x old/.git/hooks/pre-commit"
    )
    command, done = run(rlm, [f"{PREAMBLE}\nset -e; {HARMLESS}"], before=f"git init -q; {old}")
    assert "exit code" not in done.session.results[0]
    assert [] == errors(done)
    assert "This run changed" not in done.err
    places = ("plain", "tree", "clone", "bare.git", "shallow", "whole", "whole/sub", "old")
    said = outside(command, command.cwd, [f"(cd {place} && git log -1 --format=%s >&2)" for place in places])
    assert ["f", "f", "s", "f", "f", "s", "f", "more"] == said.split()


def test_kept_and_moved_configurations_are_reported_in_red_in_json_and_in_the_journal(rlm: Make) -> None:
    plant = f"{PREAMBLE}\nrepository sub; git -C sub config core.fsmonitor ./x; echo; git -C sub config alias.y '!z'"
    command, moved = run(rlm, [plant], "--color", "always", "-q")
    line = "This run changed sub/.git. git there would use: alias.y=!z; core.fsmonitor=./x."
    assert [f"{line} Moved aside: sub/.git/config.rejected."] == errors(moved)
    assert "\x1b[31m" in moved.err
    assert "This run changed sub/.git. git there would use" in moved.err
    with Scripted(call("bash", command=plant.replace("sub", "other")), text("end")) as server:
        kept = replace(rlm(server), environment={**command.environment, **rlm(server).environment})
        records = kept("go", "--keep-repositories", "--json", RLM_TOOLS="bash").lines
    assert [f"{line.replace('sub', 'other')} It was left unchanged."] == [
        record["reason"] for record in records if record["type"] == "error"
    ]
    assert "fsmonitor" in (command.cwd / "other" / ".git" / "config").read_text()
    assert "fsmonitor" in (command.cwd / "sub" / ".git" / "config.rejected").read_text()


def test_an_old_configuration_is_restored(rlm: Make) -> None:
    command, _ = run(rlm, ["git -C old config core.fsmonitor ./x; git -C old config user.name other"],
        before="git init -q old; git -C old config user.name me; git -C old config alias.x '!ls'")  # fmt: skip
    kept = outside(command, command.cwd / "old", ["git config user.name >&2; git config alias.x >&2"])
    assert "me\n!ls\n" == kept


def test_folders_that_could_not_be_searched_are_reported(rlm: Make) -> None:
    deep = "/".join(["d"] * 110)
    _, done = run(rlm, [f"mkdir -p {deep}; git init -q {deep}"], before="mkdir -p big/$(seq -s / 110)")
    (error,) = errors(done)
    assert error.startswith("d/d/d")
    assert "was not searched for new repositories" in error


def test_repositories_of_a_killed_run_are_reported_by_the_next(rlm: Make) -> None:
    plant = f"{PREAMBLE}\nrepository sub; git -C sub config core.fsmonitor ./x"
    with Scripted(call("bash", command=plant), hang()) as server:
        command = replace(rlm(server), environment={**rlm(server).environment, "RLM_SANDBOX": "bwrap"})
        process = command.start("go", RLM_TOOLS="bash")
        server.wait(lambda server: len(server.requests) == 2)
        process.kill()
        process.communicate()
    with Scripted(text("one"), text("two")) as server:
        command = replace(rlm(server), environment={**rlm(server).environment, "RLM_SANDBOX": "bwrap"})
        outputs = [command("again").err for _ in range(2)]
    line = "This run changed sub/.git. git there would use: core.fsmonitor=./x"
    assert [1, 0] == [err.count(line) for err in outputs]
    assert (command.cwd / "sub" / ".git" / "config.rejected").exists()
    assert {".gitignore", "sessions"} == {path.name for path in (command.cwd / ".rlm").iterdir()}
    assert [] == list(Path(command.env()["HOME"]).rglob("repositories-*"))


# ---- attacks that a test cannot run: each must be found by the host

FOUND = {
    "BISECT_NAMES": "git init -q r; echo '$(x)' > r/.git/BISECT_NAMES",
    "rebase-merge/strategy": "git init -q r; mkdir r/.git/rebase-merge; echo a/../../x > r/.git/rebase-merge/strategy",
    "sequencer/opts": "git init -q r; mkdir r/.git/sequencer; printf '[options]\\nstrategy=a/../x\\n' > r/.git/sequencer/opts",
    "remotes/origin": "git init -q r; mkdir -p r/.git/remotes; echo 'URL: ext::x' > r/.git/remotes/origin",
    "branches/x": "git init -q r; mkdir -p r/.git/branches; echo x > r/.git/branches/x",
    "config": "git init -q r; git -C r config remote.o.url ext::x",
    "config ": "git init -q r; git -C r config extensions.refStorage files:///x",
    "config  ": "git init -q r; rm r/.git/config; mkfifo r/.git/config",
    "config   ": "git init -q r; git -C r config a.future.setting 1",
    "modules/x/config": "git init -q r; git init -q r/x; git -C r/x config pager.log ./y; mkdir r/.git/modules; mv r/x/.git r/.git/modules/x",
    "repo/config.toml": "mkdir -p r/.jj/repo; echo x > r/.jj/repo/config.toml",
    "hgrc": "mkdir -p r/.hg; printf '[hooks]\\nupdate = ./x\\n' > r/.hg/hgrc",
    "sharedpath": "mkdir -p r/.hg; echo ../../x > r/.hg/sharedpath",
    "../.git": "git init -q r; mv r/.git .git/objects/x; echo gitdir: ../.git/objects/x > r/.git",
    "hgrc of a clone": "mkdir -p r/.hg; printf '# x\\n[paths]\\ndefault = /a/b\\n' > r/.hg/hgrc",
    "HEAD as of old": "git init -q r; rm r/.git/HEAD; ln -s refs/heads/main r/.git/HEAD",
}  # fmt: skip


@pytest.mark.parametrize("file", FOUND)
def test_other_files_that_git_obeys_are_found(alone: Rlm, file: str) -> None:
    outside(alone, alone.cwd, ["git init -q"])
    inspection = Inspection.begin(alone.cwd, git_access(alone.cwd, [], alone.env()), [])
    assert "" == outside(alone, alone.cwd, [FOUND[file]])
    findings = inspection.end(keep=False)
    if " of " in file:
        assert [] == findings
    else:
        assert "Moved aside: r/" in findings[0]
        assert f"{file.strip().removeprefix('../')}.rejected." in findings[0]
    assert inspection.before.risks == survey([alone.cwd]).risks


def test_the_folder_for_hooks_in_the_users_settings_is_searched_too(alone: Rlm, tmp_path: Path) -> None:
    Path(alone.env()["HOME"], ".gitconfig").write_text("[core]\n\thooksPath = .githooks\n")
    attack = RepositoryAttack("hooks", "repository; mkdir .githooks; cp $E .githooks/pre-commit")
    access = git_access(alone.cwd, [], alone.env())
    inspection = Inspection.begin(alone.cwd, access, [])
    outside(alone, alone.cwd, [script(attack, tmp_path, attack.plant)])
    assert "the hook pre-commit" in inspection.end(keep=False)[0]
    outside(alone, alone.cwd, [script(attack, tmp_path, attack.use)])
    assert not (tmp_path / "hooks").exists()
