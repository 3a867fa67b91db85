"""A copy of a repository for one agent, and its changes as a patch.

`python -P -m rlm.process.worktree` creates the copy or the patch: it reads a request in JSON from stdin, and writes the
result to stdout, or the error to stderr. It is a program so that it can run in a sandbox, where it reads no more than a
cell can.

git obeys a repository's configuration, hooks and filters, so it never runs in that repository. As in `working_tree`, it
gets a repository of ours, which borrows the objects. The agent also gets its own repository, not a registered worktree:
nothing in the original changes, so a killed run leaves nothing there. Actions that a configuration would cause are not
done: files of Git LFS are pointers, submodules are empty folders. Sources: git(1), gitrepository-layout(5),
git-update-index(1).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from rlm.process import files
from rlm.process.programs import helper_environment
from rlm.process.working_tree import LARGEST_INDEX, NO_COMMIT, OBEYS_NOTHING, WorkingTree

TREE, SHADOW, BASE = "tree", "git", "base"
"""Names in the folder of a worktree: the copy; the repository for this program only; the initial tree of the copy."""
_CONFIG = b"[core]\n\trepositoryformatversion = 0\n\tbare = false\n"


@dataclass(frozen=True, slots=True)
class MakeWorktree:
    """Copy the repository of the folder `cwd` into the empty folder `place`, without the folder `skip`.

    The copy has all files that are not ignored, committed or not. On stdout: the folder in the copy that corresponds to
    `cwd`.
    """

    git: str
    place: str
    cwd: str
    skip: str


@dataclass(frozen=True, slots=True)
class MakePatch:
    """On stdout: the changes in the copy, for `git apply`. Commits in it make no difference."""

    git: str
    place: str


def request(wanted: MakeWorktree | MakePatch) -> bytes:
    """Return the request as bytes for stdin."""
    return json.dumps({"verb": type(wanted).__name__, **asdict(wanted)}).encode()


class _Git:
    """Runs git on the shadow repository, with `tree` as its working tree."""

    def __init__(self, program: str, place: Path, tree: Path) -> None:
        self._program = program
        self._tree = tree
        self._environment = helper_environment(
            **OBEYS_NOTHING, GIT_DIR=str(place / SHADOW), GIT_WORK_TREE=str(tree), HOME=str(place / SHADOW)
        )

    def __call__(self, *words: str, sent: bytes = b"") -> bytes:
        command = [self._program, *words]
        done = subprocess.run(
            command, cwd=self._tree, env=self._environment, input=sent, capture_output=True, check=False
        )
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip() or f"status {done.returncode}"
            raise ValueError(f"git {words[0]}: {said}")
        return done.stdout

    def snapshot(self) -> str:
        """Return the tree of all files that are not ignored, in their present state, without nested repositories."""
        known = self("diff-files", "--name-only", "-z", "--ignore-submodules=all", "--no-ext-diff")
        new = [path for path in self("ls-files", "-z", "--others", "--exclude-standard").split(b"\0") if path]
        paths = known + b"".join(path + b"\0" for path in new if not path.endswith(b"/"))
        self("update-index", "-z", "--add", "--remove", "--replace", "--stdin", sent=paths)
        return self("write-tree").decode().strip()


def make(wanted: MakeWorktree) -> str:
    """Create the copy.

    Raises:
        OSError, ValueError: it cannot be created.
    """
    cwd, place = Path(wanted.cwd), Path(wanted.place)
    source = WorkingTree.find(cwd, Path(wanted.git))
    if source is None:
        raise ValueError(f"{cwd} is not in a git repository with a readable HEAD")
    _make_repository(place / SHADOW, source, [source.common / "objects"], Path(wanted.skip))
    base = _base(source, _Git(wanted.git, place, source.top))
    files.make_folder(place / TREE)
    git = _Git(wanted.git, place, place / TREE)
    git("read-tree", base)  # read it again: entries of a sparse checkout would not be written
    git("checkout-index", "--all", "--force", "--index")
    files.write_new(place / BASE, base.encode())
    own = place / TREE / ".git"
    _make_repository(own, source, [place / SHADOW / "objects", source.common / "objects"], Path(wanted.skip))
    files.replace(own / "index", files.read(place / SHADOW / "index", limit=LARGEST_INDEX))
    folder = place / TREE / cwd.relative_to(source.top)
    os.close(files.open_folder(folder, make=True))  # ignored folders are not in the copy
    return str(folder)


def _base(source: WorkingTree, git: _Git) -> str:
    try:
        return git.snapshot()
    except ValueError:  # an index that needs other files of its repository, such as a split one
        git("read-tree", "--empty") if source.commit == NO_COMMIT else git("read-tree", source.commit)
        return git.snapshot()


def _make_repository(folder: Path, source: WorkingTree, objects: list[Path], skip: Path) -> None:
    for inner in ("", "objects", "objects/info", "refs", "refs/heads", "info"):
        files.make_folder(folder / inner)
    head = "ref: refs/heads/main" if source.commit == NO_COMMIT else source.commit
    ignored = b""
    if skip.is_relative_to(source.top):
        ignored = b"/" + os.fsencode(skip.relative_to(source.top)) + b"/\n"
    with suppress(FileNotFoundError):
        ignored += files.read(source.common / "info" / "exclude", limit=LARGEST_INDEX)
    files.write_new(folder / "HEAD", f"{head}\n".encode())
    files.write_new(folder / "config", _CONFIG)
    files.write_new(folder / "info" / "exclude", ignored)
    files.write_new(folder / "objects" / "info" / "alternates", b"".join(os.fsencode(each) + b"\n" for each in objects))
    for origin, name in ((source.repository, "index"), (source.common, "shallow")):
        with suppress(FileNotFoundError):
            files.write_new(folder / name, files.read(origin / name, limit=LARGEST_INDEX))


def patch(wanted: MakePatch) -> bytes:
    """Create the patch.

    Raises:
        OSError, ValueError: it cannot be created.
    """
    place = Path(wanted.place)
    git, base = _Git(wanted.git, place, place / TREE), files.read(place / BASE, limit=100).decode()
    options = ("-p", "-r", "--binary", "--full-index", "--no-renames", "--no-ext-diff", "--no-textconv")
    return git("diff-tree", *options, base, git.snapshot())


def main() -> None:
    sent = json.load(sys.stdin)
    verb = sent.pop("verb")
    try:
        said = patch(MakePatch(**sent)) if verb == MakePatch.__name__ else make(MakeWorktree(**sent)).encode()
    except (OSError, ValueError) as error:
        sys.exit(str(error))
    sys.stdout.buffer.write(said)  # noqa: TID251 - a program whose host reads it


if __name__ == "__main__":
    main()
