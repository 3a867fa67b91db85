"""Find what a run has changed in the repositories of the project, report it at the end, and make it harmless.

The rules of `rlm.sandbox.git` protect the repository of the working directory. All other repositories are compared: a
risk that exists after the last cell, and did not exist before the first, is new. Its file is moved aside.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import astuple, dataclass, replace
from itertools import groupby
from pathlib import Path

from rlm.process import files
from rlm.sandbox.git import GitAccess
from rlm.sandbox.repositories import REJECTED, Risk, Survey, survey
from rlm.text.clip import one_line

_MOST_SHOWN = 100
_MOST_EFFECTS = 4
_LONGEST = 100


@dataclass(frozen=True, slots=True)
class Inspection:
    """The inspection of a run. It begins before the first cell and ends after the last one.

    Args:
        cwd: the working directory. Paths are shown relative to it.
        folders: the folders that cells can write to.
        skip: paths in them that cells cannot write to.
        hooks: folders where git looks for hooks in each repository.
    """

    cwd: Path
    folders: tuple[Path, ...]
    skip: tuple[Path, ...]
    hooks: tuple[str, ...]
    before: Survey
    left: tuple[str, ...] = ()
    """Reports on an earlier run that was killed before it could report."""

    @classmethod
    def begin(cls, cwd: Path, git: GitAccess, skip: Iterable[Path]) -> Inspection:
        """Inspect the repositories in `cwd`, and those outside that git may write, before the first cell."""
        outside = (path for path in git.writable if not path.is_relative_to(cwd))
        folders, skipped = (cwd, *outside), tuple(Path(os.path.normpath(path)) for path in skip)
        return cls(cwd, folders, skipped, git.hooks, survey(folders, skipped, git.hooks))

    def end(self, *, keep: bool) -> list[str]:
        """Return one sentence for each repository with new risks. Move their files aside, unless `keep`."""
        after = survey(self.folders, self.skip, self.hooks)
        new = sorted(after.risks - self.before.risks, key=lambda risk: (risk.repository, risk.file, risk.effect))
        report = [
            self._report(Path(repository), list(risks), keep=keep)
            for repository, risks in groupby(new, key=lambda risk: risk.repository)
        ]
        if len(report) > _MOST_SHOWN:
            report[_MOST_SHOWN:] = [f"{len(report) - _MOST_SHOWN} more repositories have similar changes."]
        if left := after.unsearched - (self.before.unsearched - {str(self.cwd)}):
            report.append(
                f"{self._relative(Path(min(left)))} was not searched for new repositories: it has too many "
                "files, or it cannot be read. Check new folders before you use git there."
            )
        return report

    def _report(self, repository: Path, risks: list[Risk], *, keep: bool) -> str:
        effects = [one_line(risk.effect, _LONGEST) for risk in risks]
        if len(effects) > _MOST_EFFECTS:
            effects[_MOST_EFFECTS:] = [f"{len(effects) - _MOST_EFFECTS} more"]
        done = "It was left unchanged." if keep else " ".join(self._move_aside(sorted({risk.file for risk in risks})))
        return f"This run changed {self._relative(repository)}. git there would use: {'; '.join(effects)}. {done}"

    def _move_aside(self, paths: list[str]) -> Iterator[str]:
        moved = []
        for path in map(Path, paths):
            try:
                moved.append(self._relative(_set_aside(path)))
                if (config := self.before.configs.get(str(path))) is not None:
                    files.write_new(path, config)
            except OSError as error:
                yield f"{self._relative(path)} could not be moved aside ({error.strerror}): do not use git there."
        if moved:
            more = f" and {len(moved) - _MOST_EFFECTS} more" if len(moved) > _MOST_EFFECTS else ""
            yield f"Moved aside: {', '.join(moved[:_MOST_EFFECTS])}{more}."

    def _relative(self, path: Path) -> str:
        return str(path.relative_to(self.cwd)) if path.is_relative_to(self.cwd) else str(path)


@contextmanager
def open_inspection(cwd: Path, git: GitAccess, home: Path, state: Path | None, *, keep: bool) -> Iterator[Inspection]:
    """Inspect during one run. A file in `state`, outside the project, stores the first result until the end."""
    with _record(state, f"repositories-{hashlib.sha256(os.fsencode(cwd)).hexdigest()[:16]}.json") as record:
        inspection = Inspection.begin(cwd, git, [home])
        left: list[str] = []
        risks: set[Risk] | None = None
        with suppress(ValueError, TypeError):  # the file is empty, because no run was killed
            if record is not None:
                text = os.pread(record, os.fstat(record).st_size, 0)
                risks = {Risk(*map(str, risk)) for risk in json.loads(text)}
        if risks is not None:
            earlier = replace(inspection.before, risks=risks, configs={})
            left = replace(inspection, before=earlier).end(keep=keep)
            inspection = Inspection.begin(cwd, git, [home])
        if record is not None:
            with suppress(OSError):
                os.ftruncate(record, 0)
                os.lseek(record, 0, os.SEEK_SET)
                files.write_all(record, json.dumps([astuple(risk) for risk in inspection.before.risks]).encode())
        yield replace(inspection, left=tuple(left))


@contextmanager
def _record(state: Path | None, name: str) -> Iterator[int | None]:
    """Yield the locked file of this run. None if another run in this folder has locked it, or it cannot be created."""
    with ExitStack() as stack:
        try:
            if state is None:
                raise FileNotFoundError
            folder = files.open_folder(state / "rlm", make=True)
            stack.callback(os.close, folder)
            with suppress(FileExistsError):
                os.close(files.create(name, dir_fd=folder))
            file = files.open_file(name, os.O_RDWR, dir_fd=folder)
            stack.callback(os.close, file)
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            stack.callback(files.remove, name, dir_fd=folder)
        except OSError:
            yield None
            return
        yield file


def _set_aside(path: Path) -> Path:
    with files.opened_folder(path.parent) as folder:
        new = path.name + REJECTED
        if _exists(folder, new):
            new = f"{path.name}.{secrets.token_hex(4)}{REJECTED}"
        with suppress(OSError):  # a cell may have removed the permission to change the folder
            os.fchmod(folder, stat.S_IMODE(os.fstat(folder).st_mode) | stat.S_IRWXU)
        os.rename(path.name, new, src_dir_fd=folder, dst_dir_fd=folder)
    return path.with_name(new)


def _exists(folder: int, name: str) -> bool:
    with suppress(OSError):
        os.stat(name, dir_fd=folder, follow_symlinks=False)
        return True
    return False
