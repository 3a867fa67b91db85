"""The files and folders of the host that a sandbox shows, as descriptors that are opened before the first cell.

Between two sandboxes a cell can change the target of a path in the project. A descriptor always refers to the file that
was opened. bwrap looks up the current path of the descriptor, mounts it, and ends if it has mounted something else
(CVE-2024-42472).
"""

from __future__ import annotations

import errno
import os
from collections import deque
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rlm.errors import ConfigError
from rlm.process import files

_MOST_LINKS = 40  # the limit of Linux, path_resolution(7)


@dataclass(frozen=True, slots=True)
class Source:
    """A file or folder of the host, and its path in the sandbox."""

    descriptor: int
    target: Path


class Sources(ExitStack):
    """Open sources, and close them at the exit."""

    def open(self, path: Path, target: Path | None = None) -> Source:
        """Open a source. `path` is absolute, without links. It is only mounted, so it need not be readable.

        Raises:
            ConfigError: the path contains a link, or does not exist.
        """
        try:
            descriptor = files.open_any(path)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise ConfigError(
                    f"The sandbox cannot protect {path}, which is a symbolic link. Replace it by its target."
                ) from None
            raise ConfigError(f"The sandbox cannot show {path}: {error.strerror}.") from None
        self.callback(os.close, descriptor)
        return Source(descriptor, target or path)


def resolve_outside(path: Path, project: Path) -> Path | None:
    """Resolve an absolute path. None if that leads through the project, where cells can create links.

    So links that an earlier run has left cannot change what this run shows.
    """
    names, here, links = deque(path.parts[1:]), Path("/"), 0
    while names and links <= _MOST_LINKS:
        name = names.popleft()
        step = here.parent if name == ".." else here / name
        if step.is_relative_to(project):
            return None
        try:
            target = step.readlink()
        except OSError:
            here = step
        else:
            links += 1
            here = Path("/") if target.is_absolute() else here
            names.extendleft(reversed([part for part in target.parts if part != "/"]))
    return None if names else here
