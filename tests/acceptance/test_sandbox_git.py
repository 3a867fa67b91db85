"""git in the sandbox: normal work in each layout of a repository, and layouts that would give access to too much."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rlm.sandbox.git import git_access
from rlm_testkit.cli import Rlm
from rlm_testkit.scripted import Scripted, call, text

Make = Callable[[Scripted], Rlm]

IDENTITY = "export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b GIT_EDITOR=true"
EVERYDAY = """
git status --short && git log --oneline && git diff
echo 1 > f && git add f && git commit -qm one
git switch -qc side && echo 2 > f && git commit -qam two && git switch -q -
echo 3 > g && git add g && git stash -q && git stash pop -q && git commit -qm three
git rebase -q side && git merge -q side && git tag t && git branch -D side
git revert --no-edit HEAD && git pack-refs --all && git gc -q && git fsck && git worktree list
git submodule status && git show --stat HEAD && git reset -q --hard && git reflog -1
"""


def shell(script: str, cwd: Path, env: dict[str, str]) -> str:
    done = subprocess.run(["bash", "-euc", f"{IDENTITY}\n{script}"], cwd=cwd, env=env, capture_output=True, check=False)
    assert 0 == done.returncode, (script, done.stderr.decode())
    return done.stdout.decode()


def sandboxed(rlm: Make, folder: Path, cells: list[str], **env: str) -> tuple[list[str], str, str]:
    """A run in this folder: the results of its cells, stderr, and the system prompt."""
    with Scripted(*(call("bash", command=f"{IDENTITY}\n{cell}") for cell in cells), text("end")) as server:
        command = replace(rlm(server), environment={**rlm(server).environment, "RLM_SANDBOX": "bwrap"})
        process = subprocess.run(
            [str(command.command), "go"], cwd=folder, env=command.env(RLM_TOOLS="bash", RLM_HOME=".rlm", **env),
            capture_output=True, stdin=subprocess.DEVNULL, timeout=120, check=False,
        )  # fmt: skip
        assert 0 == process.returncode, process.stderr.decode()
        prompt = server.requests[0].messages[0]["content"]
        results = [message["content"] for message in server.requests[-1].messages if message["role"] == "tool"]
    return results, process.stderr.decode(), prompt


LAYOUTS = {
    "a repository": ("git init -q work; git -C work commit -q --allow-empty -m x", "work"),
    "a worktree": ("git init -q main; git -C main commit -q --allow-empty -m x; git -C main worktree add -q ../work", "work"),
    "a worktree in the main one": ("git init -q main; cd main; git commit -q --allow-empty -m x; git worktree add -q trees/a", "main/trees/a"),
    "a worktree of a bare repository": ("git init -q main; git -C main commit -q --allow-empty -m x; git clone -q --bare main p/.bare; git -C p/.bare worktree add -q ../a", "p/a"),
    "a folder whose .git names a repository in it": ("mkdir p; git init -q --bare p/.bare; echo 'gitdir: ./.bare' > p/.git; git -C p/.bare config core.bare false; git -C p commit -q --allow-empty -m x", "p"),
    "a submodule": ("git init -q lib; git -C lib commit -q --allow-empty -m x; git init -q main; cd main; git -c protocol.file.allow=always submodule --quiet add ../lib sub/lib; git commit -qm s", "main/sub/lib"),
    "a worktree of a submodule": ("git init -q lib; git -C lib commit -q --allow-empty -m x; git init -q main; cd main; git -c protocol.file.allow=always submodule --quiet add ../lib lib; git commit -qm s; git -C lib worktree add -q ../../work", "work"),
}  # fmt: skip


# What a cell must not have changed: names that it tried to create, and the content of the others.
UNCHANGED = """
d=$(git rev-parse --git-dir); c=$(git rev-parse --git-common-dir)
cat $c/config; ls $c/hooks; ls -d $c/modules/* $c/worktrees/* || true; ls $c/remotes || true
cat $d/gitdir $d/commondir || true; ls $d/config.worktree || true; cat .git || true
"""
CHANGE_IT = """
d=$(git rev-parse --git-dir); c=$(git rev-parse --git-common-dir)
git config user.name x; echo x >> $c/config; mv $c/config $c/x; echo x > new; mv -f new $c/config; ln -sf x $c/config
echo x > $c/hooks/pre-commit; rm -r $c/hooks; mv $c/hooks $c/old; mkdir -p $c/worktrees/x $c/modules/x
for name in commondir config.worktree gitdir; do echo x > $d/$name; mv -f new $d/$name; rm $d/$name; done
mv $d $d.old; mv $c $c.old; test -d .git || { echo x > .git; mv .git old; }; exit 0
"""


@pytest.mark.parametrize("layout", LAYOUTS)
def test_everyday_git_works_in_each_layout(rlm: Make, alone: Rlm, layout: str) -> None:
    """The repository is in the user's home, which the sandbox hides, except for what git needs."""
    script, where = LAYOUTS[layout]
    home = Path(alone.env()["HOME"])
    shell(script, home, alone.env())
    (home / "main").mkdir(exist_ok=True)
    (home / "main" / "private").touch()
    folder = home / where
    before = shell(UNCHANGED, folder, alone.env())
    results, err, prompt = sandboxed(rlm, folder, [f"set -e{EVERYDAY}", CHANGE_IT, "cat ~/main/private"])
    assert "fatal" not in results[0]
    assert "exit code" not in results[0], results[0]
    assert "No such file" in results[2]
    assert "git cannot" not in err + prompt
    assert "three\n" == shell("git fsck >/dev/null; git log -1 --format=%s HEAD~1", folder, alone.env())
    assert before == shell(UNCHANGED, folder, alone.env())


def test_a_run_in_a_project_commits_in_its_submodules_and_worktrees(rlm: Make, alone: Rlm) -> None:
    home = Path(alone.env()["HOME"])
    submodule, _ = LAYOUTS["a submodule"]
    shell(f"({submodule}); cd main; git worktree add -q trees/a; git worktree add -q ../outside", home, alone.env())
    commit = "echo 1 > f && git add f && git commit -qm inner && git log -1 --format=%s"
    cells = [
        f"cd {folder} && {commit}; {CHANGE_IT.replace('test -d .git ||', 'true ||')}"
        for folder in ("sub/lib", "trees/a")
    ]
    places = [home / "main" / folder for folder in ("sub/lib", "trees/a", "../outside", ".")]
    before = [shell(UNCHANGED, place, alone.env()) for place in places]
    results, _, _ = sandboxed(rlm, home / "main", [*cells, "touch .git/worktrees/outside/x .git/modules/x; git status"])
    assert all("inner\n" in said for said in results[:2])
    assert 2 == results[2].count("Read-only file system")
    after = [shell(UNCHANGED, place, alone.env()) for place in places]
    for old, new in zip(before, after, strict=True):
        assert old.splitlines() == new.splitlines()


def test_a_worktree_inside_its_bare_repository_can_be_read(rlm: Make, alone: Rlm) -> None:
    """The other worktrees are in the same folder, and stay hidden."""
    home = Path(alone.env()["HOME"])
    make = "git init -q a; git -C a commit -q --allow-empty -m x; git clone -q --bare a all; cd all"
    shell(f"{make}; git worktree add -q one; git worktree add -q two; touch two/private", home, alone.env())
    results, err, _ = sandboxed(rlm, home / "all" / "one", ["git log --format=%s; git status --short", "ls ../two"])
    assert "x\n" == results[0]
    assert "No such file" in results[1]
    assert "git can read but not commit in the sandbox here" in err


# ---- folders that must stay hidden

HOSTILE = {
    "a folder of secrets": "mkdir -p .ssh work; echo 'gitdir: ../.ssh' > work/.git",
    "the user's repository": "git init -q other; mkdir work; echo 'gitdir: ../other/.git' > work/.git",
    "a worktree of another folder": "git init -q other; git -C other commit -q --allow-empty -m x; git -C other worktree add -q ../b; mkdir work; cp b/.git work",
    "a worktree that names the user's repository": "git init -q other; mkdir -p work/x; echo 'gitdir: x' > work/.git; echo ~/work/.git > work/x/gitdir; echo ~/other/.git > work/x/commondir; echo 'ref: refs/heads/m' > work/x/HEAD",
    "a repository of links": "git init -q other; mkdir -p x work; ln -s ~/other/.git/* x; echo 'gitdir: ../x' > work/.git",
    "a link to a repository": "git init -q other; mkdir work; ln -s ~/other/.git x; echo 'gitdir: ../x' > work/.git",
    "the home, as a repository": "git init -q --bare .; mkdir work; git config core.bare false; git config core.worktree ~/work; echo 'gitdir: ..' > work/.git",
    "nothing": "mkdir work; echo 'gitdir: ../gone' > work/.git",
    "not a file of git": "mkdir work; echo hello > work/.git",
}  # fmt: skip


@pytest.mark.parametrize("layout", HOSTILE)
def test_a_git_file_opens_no_folder_that_does_not_name_the_project(alone: Rlm, layout: str) -> None:
    env = alone.env()
    home = Path(env["HOME"])
    shell(HOSTILE[layout], home, env)
    access = git_access(home / "work", [home], env)
    assert () == access.writable
    assert () == access.readable
    assert access.note


def test_a_repository_of_another_user_is_not_opened(alone: Rlm) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can make a file of another user")
    env = alone.env()
    home = Path(env["HOME"])
    shell(LAYOUTS["a worktree"][0], home, env)
    assert git_access(home / "work", [home], env).writable
    os.chown(home / "main" / ".git", 12345, -1)
    access = git_access(home / "work", [home], env)
    assert () == access.writable == access.readable
    assert "belongs to another user" in access.note


def test_the_reason_why_git_cannot_work_is_reported_to_the_user_and_to_the_model(rlm: Make, alone: Rlm) -> None:
    home = Path(alone.env()["HOME"])
    shell(HOSTILE["the user's repository"], home, alone.env())
    _, err, prompt = sandboxed(rlm, home / "work", ["ls"])
    why = f"git cannot work in the sandbox here: .git names {home}/other/.git, which does not name this folder."
    assert 1 == err.count(why)
    assert 1 == prompt.count(why)


# ---- files that the configuration names


def test_files_in_the_project_that_the_configuration_names_cannot_be_changed(rlm: Make, alone: Rlm) -> None:
    """In the configuration of the repository and of the user; existing files and missing ones."""
    home = Path(alone.env()["HOME"])
    (home / ".gitconfig").write_text('[core]\nattributesFile = ~/x\n[merge "m"]\ndriver = ./tools/merge %A\n')
    preparation = "mkdir -p .husky/_ tools; touch .husky/_/pre-push shared tools/fs; chmod +x tools/fs"
    set_up = (
        "git config core.hooksPath .husky/_; git config include.path ../shared; git config core.fsmonitor tools/fs; "
        "git config --add include.path ../absent; git config 'includeIf.onbranch:x.path' ../other; "
        "git config filter.f.clean 'python tools/clean.py %f'; touch tools/clean.py"
    )
    shell(f"git init -q work; cd work; {preparation}; {set_up}", home, alone.env())
    names = ".husky/_/pre-push .husky/_/new shared absent other tools/fs tools/clean.py tools/merge"
    attack = f"for name in {names}; do echo x > $name; mv new $name; done; mv .husky old; mv tools old; exit 0"
    results, _, _ = sandboxed(
        rlm, home / "work", [f"echo x > new; {attack}", "touch tools/mine .husky/mine; git status"]
    )
    assert "fatal" not in results[1]
    assert "x\n" not in shell(f"cat {names} || true; find . -name '*old*'", home / "work", alone.env())
    assert {"clean.py", "fs", "mine"} == {path.name for path in (home / "work" / "tools").iterdir()}
