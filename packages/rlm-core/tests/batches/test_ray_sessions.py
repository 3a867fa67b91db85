"""Sessions that workers send: a session is unpacked and becomes the user's own; any other archive changes nothing."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from rlm.batches.ray_sessions import unpack
from rlm.batches.ray_worker import packed
from rlm.config.environment import state_folder
from rlm.errors import SessionError
from rlm.sessions import Session
from rlm.sessions.ownership import why_foreign
from rlm.sessions.signing_key import key_or_none

ID = "0123456789ab"


def test_a_session_of_a_worker_becomes_the_users_own(tmp_path: Path) -> None:
    with Session.create(tmp_path / "worker", model="m", cwd=tmp_path, prompt="p") as session:
        (session.outputs / "more").mkdir(parents=True)
        (session.outputs / "more" / "output.txt").write_text("data")
    archive = packed(session.folder)
    assert not session.folder.exists()
    for _ in range(2):  # a task that was repeated sends its session again
        folder = unpack(archive, tmp_path / "batch")
        assert folder == tmp_path / "batch" / "sessions" / session.id
        assert (folder / session.outputs.name / "more" / "output.txt").read_text() == "data"
        assert not why_foreign(folder, key_or_none(state_folder()))


def member(name: str, kind: bytes = tarfile.REGTYPE, to: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, to
    return info


def archive_of(*members: tarfile.TarInfo) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as tar:
        for each in (member(ID, tarfile.DIRTYPE), *members):
            tar.addfile(each)
    return data.getvalue()


ARCHIVES: dict[str, Callable[[], bytes]] = {
    "no archive": lambda: b"text",
    "cut off": lambda: archive_of(member(f"{ID}/meta.json"))[:60],
    "an absolute path": lambda: archive_of(member("/tmp/file")),
    "a parent": lambda: archive_of(member(f"{ID}/../file")),
    "another session": lambda: archive_of(member("ba9876543210/meta.json")),
    "a symbolic link": lambda: archive_of(member(f"{ID}/link", tarfile.SYMTYPE, "/etc")),
    "a hard link": lambda: archive_of(member(f"{ID}/link", tarfile.LNKTYPE, "/etc/passwd")),
    "a device": lambda: archive_of(member(f"{ID}/device", tarfile.CHRTYPE)),
    "a pipe": lambda: archive_of(member(f"{ID}/pipe", tarfile.FIFOTYPE)),
}


@pytest.mark.parametrize("archive", ARCHIVES.values(), ids=ARCHIVES)
def test_an_archive_that_is_no_session_is_refused(archive: Callable[[], bytes], tmp_path: Path) -> None:
    kept = tmp_path / "sessions" / ID / "meta.json"
    kept.parent.mkdir(parents=True)
    kept.write_text("{}")
    with pytest.raises(SessionError, match="worker"):
        unpack(archive(), tmp_path)
    assert [*tmp_path.rglob("*")] == [tmp_path / "sessions", kept.parent, kept], "nothing is changed"
