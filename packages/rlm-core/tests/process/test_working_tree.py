"""The changes of a run, listed by the real git, which must not run or obey anything of the repository."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

import pytest
from rlm.process.working_tree import WorkingTree
from rlm_testkit.git import git

INSTALLED = shutil.which("git")
GIT = Path(INSTALLED or "/nowhere")
pytestmark = pytest.mark.skipif(INSTALLED is None, reason="there is no git")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A repository with a commit, and changes from before the run."""
    folder = tmp_path / "project"
    (folder / "src").mkdir(parents=True)
    git(folder, "init", "-q")
    for name in ("src/a.py", "src/b.py", "old.txt", "gone.txt"):
        (folder / name).write_text("one\ntwo\n")
    (folder / ".gitignore").write_text("*.log\n")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "first")
    (folder / "old.txt").write_text("changed before\n")
    (folder / "untracked before").write_text("")
    time.sleep(0.05)  # changes within one tick of the clock before the run would count as its own
    return folder


def summary(tree: WorkingTree | None, cwd: Path, tmp_path: Path) -> str:
    assert tree is not None
    return tree.changes(cwd, tmp_path / "state", skip=tree.top / ".rlm")


def test_only_changes_of_the_run_are_reported(project: Path, tmp_path: Path) -> None:
    tree = WorkingTree.find(project / "src", GIT)
    (project / "src/a.py").write_text("one\n2\nthree\n")
    (project / "src/b.py").write_text("one\ntwo\nthree\n")
    git(project, "commit", "-qam", "by the run")
    (project / "gone.txt").unlink()
    for name in ("new.py", "noise.log", ".rlm/sessions/x", ".rlm2/y"):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text("x\n")
    assert summary(tree, project, tmp_path) == "src/a.py +2 −1, gone.txt +0 −2, src/b.py +1 −0, 2 new"
    assert summary(tree, project / "src", tmp_path).startswith("a.py +2 −1, ../gone.txt")
    assert list((tmp_path / "state/rlm").iterdir()) == []


def test_nothing_of_a_hostile_repository_is_run_or_obeyed(project: Path, tmp_path: Path) -> None:
    evil = tmp_path / "evil.sh"
    evil.write_text(f"#!/bin/sh\ntouch {tmp_path}/pwned\ncat\n")
    evil.chmod(0o755)
    inner = tmp_path / "inner"
    inner.mkdir()
    git(inner, "init", "-q")
    git(inner, "commit", "-q", "--allow-empty", "-m", "first")
    git(project, "submodule", "add", "-q", str(inner), "module")
    git(project, "commit", "-qm", "module")
    tree = WorkingTree.find(project, GIT)
    for repository in (project, project / "module"):
        for name in (
            "core.fsmonitor",
            "filter.x.clean",
            "filter.x.process",
            "diff.x.textconv",
            "diff.x.command",
            "diff.external",
        ):
            git(repository, "config", name, str(evil))
        git(repository, "config", "core.hooksPath", str(tmp_path / "hooks"))
    (tmp_path / "hooks").mkdir()
    shutil.copy(evil, tmp_path / "hooks/post-index-change")
    (project / ".gitattributes").write_text("* filter=x diff=x\n")
    (project / "src/a.py").write_text("one\n")
    (project / "module/new").write_text("")
    assert summary(tree, project, tmp_path) == "src/a.py +0 −1, 1 new"
    assert not (tmp_path / "pwned").exists()
    subprocess.run([GIT, "status"], cwd=project, check=False, capture_output=True)
    assert (tmp_path / "pwned").exists(), "without protection, git obeys it"


def test_worktrees_and_repositories_without_a_commit(project: Path, tmp_path: Path) -> None:
    git(project, "pack-refs", "--all")
    git(project, "worktree", "add", "-q", str(tmp_path / "other"), "-b", "other")
    time.sleep(0.05)
    tree = WorkingTree.find(tmp_path / "other", GIT)
    (tmp_path / "other/src/a.py").write_text("")
    assert summary(tree, tmp_path / "other", tmp_path) == "src/a.py +0 −2"
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    git(fresh, "init", "-q")
    tree = WorkingTree.find(fresh, GIT)
    (fresh / "first.py").write_text("x\n")
    assert summary(tree, fresh, tmp_path) == "1 new"


def test_without_changes_nothing_is_reported(project: Path, tmp_path: Path) -> None:
    assert summary(WorkingTree.find(project, GIT), project, tmp_path) == ""
    assert WorkingTree.find(tmp_path, GIT) is None
    assert WorkingTree.find(project, None) is None
    tree = WorkingTree.find(project, GIT)
    assert tree
    assert tree.changes(project, None, skip=project) == ""
    (project / ".git/HEAD").write_text("ref: ../../etc/passwd\n")
    assert WorkingTree.find(project, GIT) is None
