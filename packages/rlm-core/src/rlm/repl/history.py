"""The inputs that were entered earlier in this folder."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from prompt_toolkit.history import History

from rlm.process import files


class FileHistory(History):
    """A history file: one input per line, as JSON, readable by its owner only. Read and write errors are ignored."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def load_history_strings(self) -> Iterable[str]:
        """Yield the inputs, newest first."""
        with suppress(OSError):
            for line in reversed(files.read(self._path).splitlines()):
                with suppress(ValueError):
                    yield str(json.loads(line))

    def store_string(self, string: str) -> None:
        with suppress(OSError):
            files.make_folder(self._path.parent)
            try:
                file = files.open_file(self._path, os.O_WRONLY | os.O_APPEND)
            except FileNotFoundError:
                file = files.create(self._path, os.O_WRONLY)
            try:
                files.write_all(file, f"{json.dumps(string)}\n".encode())
            finally:
                os.close(file)
