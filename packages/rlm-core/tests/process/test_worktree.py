"""The copy of a repository for one agent, and the patch of its changes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from rlm.process import worktree
from rlm.process.worktree import MakePatch, MakeWorktree
from rlm_testkit.git import git

GIT = shutil.which("git") or ""
pytestmark = pytest.mark.skipif(not GIT, reason="there is no git")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with texts, a binary file, a link, a folder, an ignored file, uncommitted and new files."""
    top = tmp_path / "project"
    (top / "sub").mkdir(parents=True)
    git(top, "init", "-q", "-b", "main")
    (top / "a.txt").write_text("one\n")
    (top / "gone").write_text("x\n")
    (top / "latin").write_bytes(b"caf\xe9\n")
    (top / "bin").write_bytes(bytes(range(256)))
    (top / "sub/b.txt").write_text("b\n")
    (top / "link").symlink_to("a.txt")
    (top / ".gitignore").write_text("ignored/\n")
    git(top, "add", "-A")
    git(top, "commit", "-qm", "one")
    (top / "a.txt").write_text("one\ndirty\n")
    (top / "new.txt").write_text("new\n")
    for name in ("ignored", "home"):
        (top / name).mkdir()
        (top / name / "x").write_text("x")
    return top


def copied(repository: Path, destination: Path, cwd: str = ".") -> Path:
    destination.mkdir()
    worktree.make(MakeWorktree(GIT, str(destination), str(repository / cwd), str(repository / "home")))
    return destination / "tree"


def patch(destination: Path) -> bytes:
    return worktree.patch(MakePatch(GIT, str(destination)))


def contents(top: Path) -> dict[str, tuple[bytes, int]]:
    files = (path for path in top.rglob("*") if path.is_file() or path.is_symlink())
    return {
        str(path.relative_to(top)): (
            os.fsencode(path.readlink()) if path.is_symlink() else path.read_bytes(),
            path.lstat().st_mode,
        )
        for path in files
    }


def test_the_copy_has_all_files_that_are_not_ignored_and_the_patch_has_all_changes(
    repository: Path, tmp_path: Path
) -> None:
    before = contents(repository)
    tree = copied(repository, tmp_path / "place", "sub")
    assert {name: each for name, each in before.items() if name.split("/")[0] not in (".git", "ignored", "home")} == {
        name: each for name, each in contents(tree).items() if not name.startswith(".git/")
    }
    assert "one" in git(tree, "log", "--oneline")
    assert {"M  a.txt", "A  new.txt"} == set(git(tree, "status", "--short").splitlines())
    assert patch(tmp_path / "place") == b"", "earlier changes are not part of the patch"
    (tree / "a.txt").write_text("one\ndirty\nchild\n")
    (tree / "bin").write_bytes(b"\0" * 10)
    (tree / "latin").write_bytes(b"caf\xe9 au lait\r\n")
    (tree / "gone").unlink()
    (tree / "sub/b.txt").unlink()
    (tree / "sub/b.txt").mkdir()
    (tree / "sub/b.txt/c").write_text("no newline")
    (tree / "link").unlink()
    (tree / "link").symlink_to("bin")
    (tree / "run").write_text("#!\n")
    (tree / "run").chmod(0o755)
    (tree / 'odd\n"näme').write_text("x\n")
    (tree / "ignored").mkdir()
    (tree / "ignored/y").write_text("y")
    git(tree, "commit", "-qam", "a commit in the copy")
    git(tree, "init", "-q", "nested")
    (tree / "nested/z").write_text("z")
    changes = patch(tmp_path / "place")
    assert contents(repository) == before, "the original must not change"
    git(repository, "apply", stdin=changes)
    wanted = {
        name: each for name, each in contents(tree).items() if name.split("/")[0] not in (".git", "ignored", "nested")
    }
    got = {
        name: each
        for name, each in contents(repository).items()
        if name.split("/")[0] not in (".git", "ignored", "home")
    }
    assert wanted == got


def test_nothing_of_a_hostile_repository_is_run(repository: Path, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    for hook in ("post-checkout", "post-index-change", "pre-commit", "reference-transaction"):
        path = repository / ".git/hooks" / hook
        path.write_text(f"#!/bin/sh\ntouch {ran}\n")
        path.chmod(0o755)
    run = f"touch {ran}; cat"
    for name in (
        "filter.evil.clean",
        "filter.evil.smudge",
        "filter.evil.process",
        "diff.evil.command",
        "diff.evil.textconv",
    ):
        git(repository, "config", name, run)
    git(repository, "config", "core.fsmonitor", f"touch {ran}")
    git(repository, "config", "diff.external", f"touch {ran}")
    (repository / ".gitattributes").write_text("* filter=evil diff=evil merge=evil\n")
    tree = copied(repository, tmp_path / "place")
    (tree / "a.txt").write_text("child\n")
    shutil.rmtree(tree / ".git")  # the agent's own repository can be as hostile as the agent
    shutil.copytree(repository / ".git", tree / ".git")
    shutil.copytree(repository / ".git", tree / "sub/.git")
    assert b"+child" in patch(tmp_path / "place")
    deeper = copied(tree, tmp_path / "place2")
    (deeper / "a.txt").write_text("grandchild\n")
    assert b"-child\n+grandchild" in patch(tmp_path / "place2")
    assert not ran.exists()


def test_repositories_of_all_sorts(repository: Path, tmp_path: Path) -> None:
    """Without a commit, a registered worktree, with a split index, with a submodule."""
    empty = tmp_path / "empty"
    empty.mkdir()
    git(empty, "init", "-q")
    (empty / "f").write_text("f\n")
    assert (copied(empty, tmp_path / "p1") / "f").read_text() == "f\n"
    git(repository, "worktree", "add", "-q", str(tmp_path / "linked"))
    assert (copied(tmp_path / "linked", tmp_path / "p2") / "a.txt").read_text() == "one\n"
    git(repository, "submodule", "--quiet", "add", str(tmp_path / "linked"), "module")
    git(repository, "commit", "-qm", "a submodule")
    git(repository, "update-index", "--split-index")
    tree = copied(repository, tmp_path / "p3")
    assert list((tree / "module").iterdir()) == []
    assert patch(tmp_path / "p3") == b""


@pytest.mark.parametrize("bare", [False, True])
def test_a_folder_that_is_not_a_working_tree_is_refused(tmp_path: Path, bare: bool) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    if bare:
        git(folder, "init", "-q", "--bare")
    with pytest.raises(ValueError, match="is not in a git repository"):
        copied(folder, tmp_path / "place")
