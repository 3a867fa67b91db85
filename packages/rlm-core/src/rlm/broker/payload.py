"""Transfer an object to a sub-agent's kernel. The sender pickles it, the receiver loads it; the host does neither."""

from __future__ import annotations

import base64
import os
import reprlib
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlm.broker.protocol import ContextKind
from rlm.errors import ConfigError
from rlm.process import files
from rlm.text.clip import one_line
from rlm.text.encodings import SAMPLE, likely_encoding_of_start
from rlm.text.lazy_text import LARGEST

LAZY = "supports slices, len, find, count, iteration by line; str(context) returns the whole text"
HEAD = 200
"""Maximum characters of an object that the prompt shows."""


_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxother, _SHORT.maxstring, _SHORT.maxlist, _SHORT.maxdict = 3, HEAD, HEAD, 20, 10


@dataclass(frozen=True, slots=True)
class ContextPayload:
    """`path` is a pickle, or, if `kind` is `file`, the context as text. `about` describes the context in one line."""

    path: Path
    about: str
    kind: ContextKind = "pickle"
    digest: str = ""
    """Hash of the content. A later run uses it to recognise the context."""
    modules: tuple[str, ...] = ()
    """The modules that the object needs, see `Dumped`."""


def pack(obj: object, folder: Path) -> ContextPayload:
    """Pickle `obj` into `folder`.

    Raises:
        ConfigError: it cannot be pickled, or the disk is full.
    """
    from rlm.process.shared_objects import dump

    path = folder / f"context-{secrets.token_hex(8)}"
    try:
        with os.fdopen(files.create(path), "wb") as file:
            dumped = dump(obj, file)
        return ContextPayload(path, describe(obj), digest=dumped.digest, modules=dumped.modules)
    except Exception as error:  # an object may raise any exception while it is pickled
        files.remove(path)
        why = str(error) or type(error).__name__
        raise ConfigError(f"The context cannot be pickled ({why}). Pass plain data, or a file's path.") from error


def from_file(path: Path) -> ContextPayload:
    """Describe a file, of any size, without copying it."""
    with os.fdopen(files.open_file(path), "rb") as file:
        start = file.read(SAMPLE)
        size = os.fstat(file.fileno()).st_size
    text = start.decode(likely_encoding_of_start(start), "replace").removeprefix("\ufeff")
    kind = "str" if size <= LARGEST else f"large text ({LAZY})"
    return ContextPayload(path, f"{kind}, {size:,} bytes of {path.name}, begins {text[:HEAD]!r}", "file")


def describe(obj: Any) -> str:
    """Return the type of `obj`, its size, and its beginning. Quick for objects of any size."""
    head = repr(obj[:HEAD]) if isinstance(obj, str | bytes) else one_line(_SHORT.repr(obj), HEAD)
    return f"{type(obj).__name__}{_length(obj)}, begins {head}"


def _length(obj: Any) -> str:
    try:
        return f", {len(obj):,} long"
    except Exception:  # noqa: BLE001 - it has no length: an array without dimensions raises here too
        return ""


_PICTURES = {b"\x89PNG": "png", b"\xff\xd8": "jpeg", b"GIF8": "gif", b"RIFF": "webp"}


def picture_url(picture: str | os.PathLike[str] | bytes) -> str:
    """Return the URL of a picture: a URL unchanged; a file, or its bytes, as a `data:` URL.

    Raises:
        ConfigError: it is not a picture in a format that models take, or cannot be read.
    """
    if isinstance(picture, str) and picture.startswith(("data:image/", "https://", "http://")):
        return picture
    try:
        data = picture if isinstance(picture, bytes) else Path(picture).read_bytes()  # by path: a cell reads it
    except OSError as error:
        raise ConfigError(f"The picture {picture!s} cannot be read: {error.strerror}.") from None
    kind = next((kind for start, kind in _PICTURES.items() if data.startswith(start)), None)
    if kind is None:
        raise ConfigError("A picture must be PNG, JPEG, GIF or WebP.")
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
