"""A folder is copied while another process changes it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from rlm.process import files
from rlm.process.files import copy_tree

pytestmark = pytest.mark.attack("leading the host's files elsewhere")


def test_a_link_that_replaces_a_file_during_a_copy_is_not_followed(tmp_path: Path) -> None:
    """`wanted` is called directly before each copy: a cell could act at this moment."""
    old, new, secret = tmp_path / "old", tmp_path / "new", tmp_path / "secret"
    (old / "inner" / "deep").mkdir(parents=True)
    new.mkdir()
    secret.mkdir()
    (secret / "file").write_text("private")
    for name in ("kept", "later a link", "later a pipe", "later gone", "inner/deep/kept"):
        (old / name).write_text(f"text of {name}")
    (old / "later a folder's link").mkdir()
    (old / "a link").symlink_to(secret / "file")
    os.mkfifo(old / "a pipe")

    def wanted(path: Path) -> bool:
        if path.name.startswith("later"):
            (old / path).rmdir() if (old / path).is_dir() else (old / path).unlink()
        if path.name == "later a pipe":
            os.mkfifo(old / path)
        elif path.name == "later a link":
            (old / path).symlink_to(secret / "file")
        elif path.name == "later a folder's link":
            (old / path).symlink_to(secret)
        return True

    source, target = files.open_folder(old), files.open_folder(new)
    copy_tree(source, target, wanted)
    os.close(source)
    os.close(target)
    copied = {str(path.relative_to(new)): path.read_text() for path in new.rglob("*") if path.is_file()}
    assert {"kept": "text of kept", "inner/deep/kept": "text of inner/deep/kept"} == copied
    assert not any(path.is_symlink() for path in new.rglob("*"))


def test_a_folder_that_becomes_a_link_once_it_has_been_seen_is_not_entered(tmp_path: Path) -> None:
    """The link replaces a folder after its parent has been listed, and before it is entered."""
    old, new, secret = tmp_path / "old", tmp_path / "new", tmp_path / "secret"
    for folder in (old / "one", old / "other", new, secret):
        folder.mkdir(parents=True)
    (secret / "file").write_text("private")
    asked: list[Path] = []

    def wanted(path: Path) -> bool:
        if len(asked) == 1:
            (old / asked[0]).rmdir()
            (old / asked[0]).symlink_to(secret)
        asked.append(path)
        return True

    source, target = files.open_folder(old), files.open_folder(new)
    with pytest.raises(files.UnsafePath, match="is a symbolic link"):
        copy_tree(source, target, wanted)
    os.close(source)
    os.close(target)
    assert [] == list(new.rglob("file"))
