"""rlm.process.files against every type of file that can be in the place of the expected file."""

import contextlib
import errno
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rlm.process import files
from rlm.process.files import UnsafePath

SECRET = b"outside"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder with files, and a secret beside it."""
    folder = tmp_path.resolve() / "tree"
    (folder / "docs").mkdir(parents=True)
    (folder / "plain").write_bytes(b"inside")
    (folder / "docs" / "AGENTS.md").write_bytes(b"rules")
    (folder.parent / "secret").write_bytes(SECRET)
    return folder


@pytest.fixture
def held(tree: Path) -> Iterator[int]:
    folder = files.open_folder(tree)
    yield folder
    os.close(folder)


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))


PLANTED: dict[str, Callable[[Path], object]] = {
    "link": lambda path: path.symlink_to(path.parent.parent / "secret"),
    "broken link": lambda path: path.symlink_to("nowhere"),
    "circle": lambda path: path.symlink_to(path.name),
    "magic link": lambda path: path.symlink_to("/proc/self/environ"),
    "pipe": os.mkfifo,
    "socket": make_socket,
    "folder": Path.mkdir,
    "link to a device": lambda path: path.symlink_to("/dev/zero"),
}


@pytest.mark.parametrize("kind", PLANTED)
def test_anything_but_a_regular_file_is_one_error(tree: Path, held: int, kind: str) -> None:
    PLANTED[kind](tree / "odd")
    with pytest.raises(UnsafePath) as refused:
        files.read(tree / "odd")
    assert str(tree / "odd") in str(refused.value)
    for attempt in (
        lambda: files.read("odd", dir_fd=held, limit=10),
        lambda: files.open_file("odd", os.O_WRONLY, dir_fd=held),
        lambda: files.Replacement(tree / "odd"),
        lambda: files.create("odd", dir_fd=held),
        lambda: files.write_new("odd", b"x", dir_fd=held),
        lambda: files.open_folder(tree / "odd" / "deeper", make=True) if kind != "folder" else files.read("odd/"),
    ):
        with pytest.raises(OSError):
            attempt()
    assert (tree.parent / "secret").read_bytes() == SECRET


def test_an_error_names_the_path_and_nothing_else(tree: Path) -> None:
    with pytest.raises(FileNotFoundError) as missing:
        files.read(tree / "docs" / "missing")
    assert str(missing.value) == f"[Errno 2] No such file or directory: '{tree}/docs/missing'"


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null", "/dev/tty"])
def test_devices_are_refused(path: str) -> None:
    with pytest.raises(UnsafePath, match="is a device"):
        files.read(path)


def test_proc_magic_links_are_refused() -> None:
    with pytest.raises(UnsafePath, match="symbolic link"):
        files.read(f"/proc/{os.getpid()}/exe")
    with pytest.raises(UnsafePath, match="root is a symbolic link"):
        files.read(f"/proc/{os.getpid()}/root/etc/passwd")


def test_a_link_in_the_middle_is_refused(tree: Path, held: int) -> None:
    (tree / "way").symlink_to("docs")
    for attempt in (
        lambda: files.read(tree / "way" / "AGENTS.md"),
        lambda: files.read("way/AGENTS.md", dir_fd=held),
        lambda: files.write_new("way/new", b"", dir_fd=held),
        lambda: files.open_folder("way", dir_fd=held),
        lambda: files.open_folder(tree / "way" / "new", make=True),
        lambda: files.Replacement(tree / "way" / "new"),
    ):
        with pytest.raises(UnsafePath, match="way is a symbolic link"):
            attempt()
    assert names(tree / "docs") == ["AGENTS.md"]


def test_a_file_in_the_middle_is_refused(tree: Path) -> None:
    with pytest.raises(NotADirectoryError):
        files.read(tree / "plain" / "below")


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "n" * 256, "", ".", "..", "docs/../plain"])
def test_invalid_names_are_one_error(held: int, name: str) -> None:
    for attempt in (
        lambda: files.read(name, dir_fd=held),
        lambda: files.create(name, dir_fd=held),
        lambda: files.read_beneath(held, name),
    ):
        if name == "docs/../plain" and attempt.__code__.co_names[1] == "read_beneath":
            continue  # this is one file, and inside the folder
        with pytest.raises(OSError):
            attempt()


def test_a_path_from_the_user_may_lead_upwards(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree / "docs")
    assert files.resolve("../plain") == tree / "plain"
    assert files.resolve(tree / "docs/../new/../file") == tree / "file"


def test_names_that_are_not_utf8(tree: Path, held: int) -> None:
    name = os.fsdecode(b"\xff\xfe name")
    files.write_new(name, b"odd", dir_fd=held)
    assert files.read(tree / name) == b"odd"


def test_a_hard_link_to_a_file_is_not_written(tree: Path, held: int) -> None:
    os.link(tree.parent / "secret", tree / "twin")
    with pytest.raises(UnsafePath, match="hard link"):
        files.open_file("twin", os.O_WRONLY, dir_fd=held)
    files.replace("twin", b"new", dir_fd=held)
    assert (tree.parent / "secret").read_bytes() == SECRET


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_a_hard_link_to_a_file_of_another_user_is_not_read(tree: Path, held: int) -> None:
    os.chown(tree.parent / "secret", 65533, 65533)
    os.link(tree.parent / "secret", tree / "twin")
    with pytest.raises(UnsafePath, match="hard link"):
        files.read("twin", dir_fd=held)


def test_reading_ends_where_the_file_ended(tree: Path, held: int) -> None:
    """A file that grows without end does not block, and a file that is too large is refused."""
    writer = subprocess.Popen(["/bin/sh", "-c", f"while :; do echo more >> '{tree}/plain'; done"])
    try:
        for _ in range(50):
            assert files.read("plain", dir_fd=held, start=2).startswith(b"side")
    finally:
        writer.kill()
        writer.wait()
    with pytest.raises(UnsafePath, match="larger than 4 bytes") as refused:
        files.read("plain", dir_fd=held, limit=4)
    assert refused.value.errno == errno.EFBIG


def test_a_race_for_the_name_gains_nothing(tree: Path, held: int) -> None:
    """Another process exchanges files and folders for links in a loop."""
    program = (
        "import os, sys\n"
        "os.chdir(sys.argv[1])\n"
        "os.symlink('../secret', 'link'); os.symlink('..', 'away')\n"
        "os.mkdir('dir'); open('dir/secret', 'w').write('inside')\n"
        "print('ready', flush=True)\n"
        "while True:\n"
        "  for name, other in (('plain', 'link'), ('dir', 'away')):\n"
        "    os.rename(name, 'old'); os.rename(other, name); os.rename(name, other); os.rename('old', name)\n"
    )
    swapper = subprocess.Popen([sys.executable, "-S", "-c", program, str(tree)], stdout=subprocess.PIPE)
    assert swapper.stdout is not None
    with swapper.stdout as output:
        assert output.readline() == b"ready\n"
    met = {"read": 0, "refused": 0}
    try:
        while swapper.poll() is None and (met["read"] < 200 or met["refused"] < 20):
            for path in ("plain", "dir/secret"):
                try:
                    assert files.read(path, dir_fd=held) == b"inside"
                    met["read"] += 1
                except FileNotFoundError:
                    pass
                except OSError:
                    met["refused"] += 1
            with pytest.raises(OSError):
                files.read_beneath(held, "away/secret")
        assert swapper.poll() is None
    finally:
        swapper.kill()
        swapper.wait()


# ---- links that stay inside the folder


def test_links_inside_are_followed(tree: Path, held: int) -> None:
    (tree / "AGENTS.md").symlink_to("docs/AGENTS.md")
    (tree / "CLAUDE.md").symlink_to("AGENTS.md")
    (tree / "docs" / "up").symlink_to("../AGENTS.md")
    (tree / "docs2").symlink_to("docs")
    (tree / "absolute").symlink_to(tree / "AGENTS.md")
    for path in ("AGENTS.md", "CLAUDE.md", "docs/up", "docs2/AGENTS.md", "docs2/up", "docs/../AGENTS.md"):
        assert files.read_beneath(held, path) == b"rules"
    assert files.read_beneath(held, "absolute", root=tree) == b"rules"


@pytest.mark.parametrize(
    "target", ["../secret", "docs/../../secret", "{}/secret", "/proc/self/environ", "..", "way/secret", "/"]
)
def test_links_that_lead_out_are_refused(tree: Path, held: int, target: str) -> None:
    (tree / "way").symlink_to("..")
    (tree / "AGENTS.md").symlink_to(target.format(tree.parent))
    for root in (None, tree):
        with pytest.raises(UnsafePath, match="leads out"):
            files.read_beneath(held, "AGENTS.md", root=root)
    with pytest.raises(UnsafePath, match="leads out"):
        files.read_beneath(held, "docs/../../secret")


@pytest.mark.parametrize("kind", ["circle", "pipe", "socket", "folder", "link to a device"])
def test_what_a_link_inside_leads_to_is_checked(tree: Path, held: int, kind: str) -> None:
    PLANTED[kind](tree / "odd")
    (tree / "AGENTS.md").symlink_to("odd")
    with pytest.raises(UnsafePath):
        files.read_beneath(held, "AGENTS.md")


def test_no_descriptor_is_left_open(tree: Path, held: int) -> None:
    def count() -> int:
        return len(names(Path("/dev/fd")))

    before = count()
    (tree / "AGENTS.md").symlink_to("docs/AGENTS.md")
    (tree / "out").symlink_to("../secret")
    os.mkfifo(tree / "pipe")
    files.read(tree / "plain")
    files.replace("plain", b"", dir_fd=held)
    files.read_beneath(held, "AGENTS.md")
    with files.Replacement(tree / "answer") as target:
        target.commit(b"")
    for path in ("out", "pipe", "pipe/below", "out/below", "a\0"):
        for attempt in (files.read, files.create, files.open_folder, files.Replacement):
            with pytest.raises(OSError):
                attempt(tree / path)
        with pytest.raises(OSError):
            files.read_beneath(held, path)
    assert count() == before


# ---- writing


def test_files_and_folders_are_for_their_owner_alone(tree: Path) -> None:
    umask = os.umask(0)
    try:
        os.close(files.open_folder(tree / "a" / "b", make=True))
        files.write_new(tree / "a" / "new", b"1")
        files.replace(tree / "a" / "other", b"2")
    finally:
        os.umask(umask)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tree.glob("a/**/*")}
    assert modes == {"b": 0o700, "new": 0o600, "other": 0o600}


def test_a_new_file_replaces_none(tree: Path) -> None:
    with pytest.raises(FileExistsError):
        files.write_new(tree / "plain", b"")
    assert files.read(tree / "plain") == b"inside"


def test_copying_goes_by_descriptors(tree: Path, held: int) -> None:
    (tree / "large").write_bytes(os.urandom(3_000_000))
    source, target = files.open_file("large", dir_fd=held), files.create("copy", dir_fd=held)
    try:
        files.copy(source, target)
    finally:
        os.close(source)
        os.close(target)
    assert files.read("copy", dir_fd=held) == (tree / "large").read_bytes()


def test_writing_to_a_pipe_that_takes_little(tree: Path) -> None:
    end, begin = os.pipe()
    data = os.urandom(1_000_000)
    got = bytearray()

    def drain() -> None:
        with os.fdopen(end, "rb") as stream:
            got.extend(stream.read())

    reader = threading.Thread(target=drain)
    reader.start()
    files.write_all(begin, data)
    os.close(begin)
    reader.join()
    assert got == data


@pytest.mark.parametrize("before", [None, b"old"])
def test_a_replacement_is_written_where_the_path_led_first(tree: Path, before: bytes | None) -> None:
    out, elsewhere = tree / "out", tree.parent / "elsewhere"
    out.mkdir()
    elsewhere.mkdir()
    if before:
        (out / "answer").write_bytes(before)
        (out / "answer").chmod(0o640)
    with files.Replacement(out / "answer") as target:
        assert names(out) == (["answer"] if before else [])
        out.rename(tree / "moved")
        out.symlink_to(elsewhere)
        (tree / "moved" / "answer").unlink(missing_ok=True)
        (tree / "moved" / "answer").symlink_to("../../secret")
        target.commit(b"42")
    assert (tree / "moved" / "answer").read_bytes() == b"42"
    assert not names(elsewhere)
    assert names(tree / "moved") == ["answer"]
    assert (tree.parent / "secret").read_bytes() == SECRET
    if before:
        assert (tree / "moved" / "answer").stat().st_mode & 0o777 == 0o640


def test_a_device_that_the_user_names_is_written_to() -> None:
    with files.Replacement("/dev/null") as target:
        target.commit(b"42")
    with files.Replacement("/dev/full") as target, pytest.raises(OSError, match="No space left"):
        target.commit(b"42")


def test_a_replacement_that_is_not_committed_leaves_nothing(tree: Path) -> None:
    with files.Replacement(tree / "answer"):
        pass
    assert names(tree) == ["docs", "plain"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_if_the_folder_is_read_only_the_old_file_is_overwritten(tree: Path) -> None:
    (tree / "answer").write_bytes(b"a longer one")
    tree.chmod(0o500)
    try:
        with pytest.raises(PermissionError):
            files.Replacement(tree / "new")
        with files.Replacement(tree / "answer") as target:
            target.commit(b"42")
    finally:
        tree.chmod(0o700)
    assert (tree / "answer").read_bytes() == b"42"


def test_a_socket_is_connected_to_whatever_becomes_of_its_name(tree: Path) -> None:
    with contextlib.ExitStack() as opened:
        first, second = (opened.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(2))
        for listener, name in ((first, "socket"), (second, "other")):
            listener.bind(str(tree / name))
            listener.listen()
        where = files.socket_place(tree / "socket", opened)
        (tree / "socket").unlink()
        (tree / "socket").symlink_to("other")
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(where)
        first.settimeout(10)
        first.accept()[0].close()
        os.mkfifo(tree / "pipe")
        for name in ("socket", "plain", "docs", "pipe"):
            with pytest.raises(UnsafePath, match="is not a socket of this user"):
                files.socket_place(tree / name, opened)
        (tree / "way").symlink_to(".")
        with pytest.raises(UnsafePath, match="way is a symbolic link"):
            files.socket_place(tree / "way" / "other", opened)


def test_a_folder_to_work_in_is_not_reached_through_a_link(tree: Path) -> None:
    (tree / "way").symlink_to("docs")
    program = [sys.executable, "-c", "import os; print(os.getcwd())"]
    with files.folder_for_child(tree / "docs") as where:
        (tree / "docs").rename(tree / "moved")
        (tree / "docs").symlink_to(".")
        assert subprocess.check_output(program, cwd=where).decode() == f"{tree / 'moved'}\n"
    for use in (files.change_to, lambda path: files.folder_for_child(path).__enter__()):
        with pytest.raises(UnsafePath, match="way is a symbolic link"):
            use(tree / "way")


def test_a_path_of_the_user_is_followed_once(tree: Path) -> None:
    (tree / "way").symlink_to("docs")
    found = files.resolve(tree / "way" / "AGENTS.md")
    (tree / "way").unlink()
    (tree / "way").symlink_to("..")
    assert files.read(found) == b"rules"
    for path in ("a\0b", "\ud800"):
        with pytest.raises(UnsafePath, match="cannot be the name of a file"):
            files.resolve(path)


def test_removing_does_not_go_through_links(tree: Path, held: int) -> None:
    (tree / "docs" / "out").symlink_to("../..")
    (tree / "way").symlink_to("docs")
    files.remove_tree("way", dir_fd=held)
    files.remove_tree("way/deeper", dir_fd=held)
    assert (tree / "docs" / "AGENTS.md").exists()
    files.remove_tree("docs", dir_fd=held)
    files.remove("way", dir_fd=held)
    files.remove("missing", dir_fd=held)
    assert names(tree) == ["plain"]
    assert (tree.parent / "secret").exists()


@pytest.mark.parametrize("kind", PLANTED)
@pytest.mark.skipif(not hasattr(os, "O_PATH"), reason="for Linux")
def test_the_source_of_a_mount_may_be_anything_but_a_link(tree: Path, kind: str) -> None:
    """The path is only held, not opened, so a pipe does not block, and no permission to read is needed."""
    PLANTED[kind](tree / "planted")
    if "link" in kind or kind == "circle":
        with pytest.raises(UnsafePath) as refused:
            files.open_any(tree / "planted")
        assert refused.value.errno == errno.ELOOP
    else:
        (tree / "planted").chmod(0)
        descriptor = files.open_any(tree / "planted")
        assert os.fstat(descriptor).st_ino == (tree / "planted").stat().st_ino
        os.close(descriptor)


@pytest.mark.skipif(not hasattr(os, "O_PATH"), reason="for Linux")
def test_the_source_of_a_mount_is_not_reached_through_a_link(tree: Path) -> None:
    (tree / "way").symlink_to("docs")
    with pytest.raises(UnsafePath) as refused:
        files.open_any(tree / "way" / "AGENTS.md")
    assert refused.value.errno == errno.ELOOP
