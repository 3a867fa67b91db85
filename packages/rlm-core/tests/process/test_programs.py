"""rlm.process.programs: the folders from which a program may come."""

import os
from pathlib import Path

import pytest
from rlm.process.programs import find_program, helper_environment, safe_path


def program(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two folders of PATH; the second one contains a good program."""
    root = tmp_path.resolve()
    root.chmod(0o755)
    (root / "first").mkdir()
    program(root / "second" / "tool")
    (root / "project").mkdir()
    return root


def path_of_found(root: Path, path: str = "") -> str:
    folders = path or f"{root}/first:{root}/second"
    where = find_program("tool", folders, [root / "project"])
    return str(where.relative_to(root)) if where else ""


def test_the_first_folder_wins(root: Path) -> None:
    assert path_of_found(root) == "second/tool"
    program(root / "first" / "tool")
    assert path_of_found(root) == "first/tool"


def test_no_folder_of_the_project_is_used(root: Path) -> None:
    inside = program(root / "project" / ".venv" / "bin" / "tool")
    (root / "link").symlink_to(inside.parent)
    (root / "first" / "tool").symlink_to(inside)
    (root / "up").mkdir()
    for folder in (inside.parent, root / "link", root / "first", f"{root}/up/../project/.venv/bin"):
        assert path_of_found(root, f"{folder}:{root}/second") == "second/tool"


def test_no_link_in_the_project_is_followed(root: Path) -> None:
    """The link leads to a good program now, but a cell could change it."""
    (root / "project" / "bin").symlink_to(root / "second")
    assert path_of_found(root, f"{root}/project/bin") in ("", "second/tool")
    (root / "project" / "tool").symlink_to(root / "second" / "tool")
    assert path_of_found(root, f"{root}/project") == ""


@pytest.mark.parametrize("entry", ["", ".", "first", "./first", "../first", "~", "first\0"])
def test_no_relative_entry_of_the_path_is_used(root: Path, entry: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program(root / "first" / "tool")
    monkeypatch.chdir(root / "first")
    assert path_of_found(root, f"{entry}:{root}/second") == "second/tool"


def test_no_program_that_others_may_write(root: Path) -> None:
    good = program(root / "first" / "tool")
    for path, mode in ((good, 0o777), (good, 0o757), (good.parent, 0o777), (root, 0o777)):
        before = path.stat().st_mode
        path.chmod(mode)
        assert path_of_found(root, f"{root}/first") == "", (path, oct(mode))
        path.chmod(before)
    good.parent.chmod(0o1777)  # like /tmp, where only the owner of a file can replace it
    assert path_of_found(root) == "first/tool"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_no_program_that_others_may_change(root: Path) -> None:
    good = program(root / "first" / "tool")
    for path in (good, good.parent):
        os.chown(path, 65533, 65533)
        assert path_of_found(root) == "second/tool"
        os.chown(path, 0, 65533)
        path.chmod(0o775)
        assert path_of_found(root) == "second/tool"
        os.chown(path, 0, 0)
    assert path_of_found(root) == "first/tool"


def test_only_executable_files_are_programs(root: Path) -> None:
    odd = root / "first" / "tool"
    odd.mkdir()
    assert path_of_found(root) == "second/tool"
    odd.rmdir()
    os.mkfifo(odd, 0o755)
    assert path_of_found(root) == "second/tool"
    odd.unlink()
    odd.write_text("text")
    odd.chmod(0o644)
    assert path_of_found(root) == "second/tool"
    odd.unlink()
    odd.symlink_to("tool")
    assert path_of_found(root) == "second/tool"


def test_a_path_is_accepted_instead_of_a_name(root: Path) -> None:
    assert find_program(f"{root}/second/tool", "", []) == root / "second" / "tool"
    assert find_program("second/tool", str(root), []) is None


def test_helpers_know_nothing_of_us() -> None:
    assert helper_environment(TERM="dumb") == {"PATH": os.defpath, "TERM": "dumb"}


def test_a_path_without_folders_that_a_cell_could_write(root: Path) -> None:
    inside = program(root / "project" / "bin" / "tool").parent
    (root / "link").symlink_to(inside)
    (root / "open").mkdir()
    (root / "open").chmod(0o777)
    search_path = f"{inside}:{root}/link:.::{root}/open:{root}/missing:{root}/first:{root}/second"
    assert safe_path(search_path, [root / "project"]) == f"{root}/first:{root}/second"
    assert safe_path(f"{inside}:.", [root / "project"]) == os.defpath
    assert safe_path("/usr/bin", [Path("/")]) == "/usr/bin"
