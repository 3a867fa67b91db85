"""rlm.process.programs: where a program may come from."""

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
def place(tmp_path: Path) -> Path:
    """Two folders of PATH, with a good program in the second."""
    place = tmp_path.resolve()
    place.chmod(0o755)
    (place / "first").mkdir()
    program(place / "second" / "tool")
    (place / "project").mkdir()
    return place


def found(place: Path, path: str = "") -> str:
    folders = path or f"{place}/first:{place}/second"
    where = find_program("tool", folders, [place / "project"])
    return str(where.relative_to(place)) if where else ""


def test_the_first_folder_wins(place: Path) -> None:
    assert found(place) == "second/tool"
    program(place / "first" / "tool")
    assert found(place) == "first/tool"


def test_no_folder_of_the_project_is_used(place: Path) -> None:
    inside = program(place / "project" / ".venv" / "bin" / "tool")
    (place / "link").symlink_to(inside.parent)
    (place / "first" / "tool").symlink_to(inside)
    (place / "up").mkdir()
    for folder in (inside.parent, place / "link", place / "first", f"{place}/up/../project/.venv/bin"):
        assert found(place, f"{folder}:{place}/second") == "second/tool"


def test_no_link_in_the_project_is_followed(place: Path) -> None:
    """Where it leads to now is good, and the next cell changes that."""
    (place / "project" / "bin").symlink_to(place / "second")
    assert found(place, f"{place}/project/bin") in ("", "second/tool")
    (place / "project" / "tool").symlink_to(place / "second" / "tool")
    assert found(place, f"{place}/project") == ""


@pytest.mark.parametrize("entry", ["", ".", "first", "./first", "../first", "~", "first\0"])
def test_no_relative_entry_of_the_path_is_used(place: Path, entry: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program(place / "first" / "tool")
    monkeypatch.chdir(place / "first")
    assert found(place, f"{entry}:{place}/second") == "second/tool"


def test_no_program_that_others_may_write(place: Path) -> None:
    good = program(place / "first" / "tool")
    for path, mode in ((good, 0o777), (good, 0o757), (good.parent, 0o777), (place, 0o777)):
        before = path.stat().st_mode
        path.chmod(mode)
        assert found(place, f"{place}/first") == "", (path, oct(mode))
        path.chmod(before)
    good.parent.chmod(0o1777)  # as /tmp: what is in it can be replaced by its owner alone
    assert found(place) == "first/tool"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_no_program_that_others_may_change(place: Path) -> None:
    good = program(place / "first" / "tool")
    for path in (good, good.parent):
        os.chown(path, 65533, 65533)
        assert found(place) == "second/tool"
        os.chown(path, 0, 65533)
        path.chmod(0o775)
        assert found(place) == "second/tool"
        os.chown(path, 0, 0)
    assert found(place) == "first/tool"


def test_only_executable_files_are_programs(place: Path) -> None:
    odd = place / "first" / "tool"
    odd.mkdir()
    assert found(place) == "second/tool"
    odd.rmdir()
    os.mkfifo(odd, 0o755)
    assert found(place) == "second/tool"
    odd.unlink()
    odd.write_text("text")
    odd.chmod(0o644)
    assert found(place) == "second/tool"
    odd.unlink()
    odd.symlink_to("tool")
    assert found(place) == "second/tool"


def test_a_path_is_accepted_instead_of_a_name(place: Path) -> None:
    assert find_program(f"{place}/second/tool", "", []) == place / "second" / "tool"
    assert find_program("second/tool", str(place), []) is None


def test_helpers_know_nothing_of_us() -> None:
    assert helper_environment(TERM="dumb") == {"PATH": os.defpath, "TERM": "dumb"}


def test_a_path_without_what_a_cell_could_fill(place: Path) -> None:
    inside = program(place / "project" / "bin" / "tool").parent
    (place / "link").symlink_to(inside)
    (place / "open").mkdir()
    (place / "open").chmod(0o777)
    search_path = f"{inside}:{place}/link:.::{place}/open:{place}/missing:{place}/first:{place}/second"
    assert safe_path(search_path, [place / "project"]) == f"{place}/first:{place}/second"
    assert safe_path(f"{inside}:.", [place / "project"]) == os.defpath
    assert safe_path("/usr/bin", [Path("/")]) == "/usr/bin"
