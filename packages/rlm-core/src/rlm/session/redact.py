"""Take secrets out of what is written down."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

REDACTED = "[redacted]"

SHORTEST = 8
"""Characters. A shorter secret ("x", "EMPTY", "ollama": what local servers take for a key) is a word, not a secret."""


_PIECE = 1 << 20


class Redactor:
    """Knows the secrets in use."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        # the longest first: one secret may begin with another
        self._secrets = sorted({secret for secret in secrets if len(secret) >= SHORTEST}, key=len, reverse=True)

    def text(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, REDACTED)
        return text

    def value(self, value: Any) -> Any:
        """The same JSON value without secrets in it, be they deep inside or keys."""
        if not self._secrets:
            return value
        match value:
            case str():
                return self.text(value)
            case dict():
                return {self.text(key): self.value(item) for key, item in value.items()}
            case list() | tuple():
                return [self.value(item) for item in value]
            case _:
                return value

    def files(self, folder: Path) -> None:
        """Take the secrets out of the files in `folder`, however large; a file that holds none is left alone."""
        if not self._secrets:
            return
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            with suppress(OSError):  # a link, a file that has gone, a full disk: the others are cleaned all the same
                self._file(path)

    def _file(self, path: Path) -> None:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode) or not any(found for found, _ in self._pieces(file)):
                return
            file.seek(0)
            draft = path.with_name(f"{path.name}.redacted")
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as clean:
                clean.writelines(piece for _, piece in self._pieces(file))
            draft.replace(path)

    def _pieces(self, file: BinaryIO) -> Iterator[tuple[bool, bytes]]:
        """The file without secrets, in pieces, and whether one was found; a secret may lie across a cut."""
        secrets = [secret.encode() for secret in self._secrets]
        keep = max(map(len, secrets)) - 1
        held = b""
        while piece := file.read(_PIECE):
            data = held + piece
            found = any(secret in data for secret in secrets)
            for secret in secrets:
                data = data.replace(secret, REDACTED.encode())
            held = data[-keep:]
            yield found, data[:-keep]
        yield False, held
