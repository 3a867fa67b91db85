"""Objects as files whose memory kernels share: a pickle, followed by the buffers that it refers to.

With protocol 5 of pickle (PEP 574) the data of arrays, frames and tables are buffers outside of the pickle. They follow
it in the same file, each at the start of a page, so that a kernel maps them and copies nothing. The mapping is private:
changes of a kernel stay its own. Large `bytes` are stored in the same way, as `MappedBytes`.

    pickle | buffers … | index: JSON, [[place, size], …] | size of the index, 8 bytes | _MARK
"""

from __future__ import annotations

import hashlib
import io
import json
import mmap
import os
import pickle
import re
import sys
from collections import ChainMap
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from types import CodeType
from typing import Any, BinaryIO, ClassVar

_MARK = b"rlm-buffers-1\r\n\0"
_NUMBER = 8  # bytes of the index's size
_SMALL = 1 << 16  # bytes; a smaller buffer stays in the pickle
_LARGE = 1 << 20  # bytes; `bytes` of this size are mapped, and buffers of this size are hashed and written in parallel
_SAMPLE, _SAMPLES = 64, 1_000  # bytes, and how many of them
_LOOKED_AT = 10_000  # values of a container
_CELL = re.compile("<ipython-input-|ipykernel_")


PRELOADED = ("numpy", "pandas", "pyarrow")
"""Modules whose memory kernels share, too, if a large object needs them."""


@dataclass(frozen=True, slots=True)
class Dumped:
    """The result of `dump`. `modules` are those of `PRELOADED` that it needs.

    The `digest` is the same if the same cells create the same object elsewhere.
    """

    digest: str
    modules: tuple[str, ...]


def dump(obj: Any, file: BinaryIO) -> Dumped:
    """Write `obj` to a file."""
    try:
        return _dump(obj, file)
    finally:
        if (arrow := sys.modules.get("pyarrow")) is not None:  # pandas copies its columns of texts to pickle them,
            arrow.default_memory_pool().release_unused()  # and Arrow would keep the memory


def _dump(obj: Any, file: BinaryIO) -> Dumped:
    hashed = _HashingFile(file)
    pickler = new_pickler(obj, hashed)
    pickler.dump(obj)
    index = [[_append(buffer, file, hashed) for buffer in buffers] for buffers in (pickler.buffers, pickler.large)]
    text = json.dumps(index).encode()
    file.write(text + len(text).to_bytes(_NUMBER, "little") + _MARK)
    return Dumped(hashed.digest.hexdigest(), tuple(sorted(hashed.modules)) if file.tell() >= _LARGE else ())


def fingerprint(obj: Any) -> str:
    """Return a digest that changes if `obj` changes. Of large arrays, texts and `bytes` it reads only samples."""
    hashed = _HashingFile(_Nowhere())
    pickler = _pickler_class(_part_of)(hashed)
    pickler.dump(obj)
    step = max(_SAMPLE, sum(buffer.nbytes for buffer in pickler.buffers) // _SAMPLES)
    for buffer in pickler.buffers:
        for place in range(0, buffer.nbytes, step):
            hashed.digest.update(buffer[place : place + _SAMPLE])
    return hashed.digest.hexdigest()


def _part_of(value: Any) -> Any:
    """Return what stands for a large array, text or `bytes`; None for any other value, which is pickled whole."""
    match value:
        case str() | bytes() | bytearray() | MappedBytes() if len(value) >= _LARGE:
            step = len(value) // _SAMPLES
            return type(value), len(value), [value[place : place + _SAMPLE] for place in range(0, len(value), step)]
        case _ if _is_array(value) and value.size > 2 * _SAMPLES and not _has_buffer(value):
            return value.shape, value.flat[:: value.size // _SAMPLES]
        case _ if type(value).__name__ in ("ArrowExtensionArray", "ArrowStringArray"):
            return value.__arrow_array__()  # pandas would copy it
    return None


def _is_array(value: Any) -> bool:
    """Return whether this is an array of numpy, which need not be imported for that."""
    return type(value).__name__ == "ndarray" and type(value).__module__ == "numpy"


def _has_buffer(array: Any) -> bool:
    """Return whether numpy pickles the data as a buffer. The buffer protocol (PEP 3118) has no dates."""
    return array.flags.forc and array.dtype.kind not in "mM" and not array.dtype.hasobject


def _reduce_array(array: Any) -> Any:
    """Return how to pickle an array so that its data is a buffer; NotImplemented: as numpy does it."""
    if array.nbytes < _SMALL or array.dtype.hasobject or _has_buffer(array):
        return NotImplemented
    if array.dtype.kind in "mM":
        return _as_dates, (array.view("i8"), array.dtype)
    return array.copy().__reduce_ex__(5)


def _as_dates(numbers: Any, dtype: Any) -> Any:
    return numbers.view(dtype)


class _Nowhere(io.RawIOBase):
    def write(self, data: Any) -> int:
        return len(data)


def _append(buffer: memoryview, file: BinaryIO, hashed: _HashingFile) -> tuple[int, int]:
    file.write(bytes(-file.tell() % mmap.ALLOCATIONGRANULARITY))
    place = file.tell()
    hashed.write_buffer(buffer)
    return place, buffer.nbytes


def load(path: Path) -> Any:
    """Load the object in a file. Its buffers are mapped; the file may then be removed."""
    with path.open("rb") as file:  # by path: in the kernel's own folder
        buffers, large = _index(file)
        file.seek(0)
        if not (buffers or large):
            return pickle.load(file)  # noqa: S301 - made by a kernel of this run, loaded in another, never in the host
        memory = memoryview(_mapped(file.fileno()))
        return _Unpickler(file, [memory[place : place + size] for place, size in buffers], large).load()


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: BinaryIO, buffers: Iterable[memoryview], large: Sequence[tuple[int, int]]) -> None:
        super().__init__(file, buffers=buffers)
        self._file = file.fileno()
        self._large = large

    def persistent_load(self, number: Any) -> MappedBytes:
        place, size = self._large[number]
        return MappedBytes(self._file, size, access=mmap.ACCESS_READ, offset=place)


def _index(file: BinaryIO) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Return the positions of the buffers, and those of the `bytes`. A plain pickle has none."""
    end = len(_MARK) + _NUMBER
    file.seek(-min(end, file.seek(0, os.SEEK_END)), os.SEEK_END)
    tail = file.read()
    if not tail.endswith(_MARK):
        return [], []
    size = int.from_bytes(tail[:_NUMBER], "little")
    file.seek(-end - size, os.SEEK_END)
    buffers, large = json.loads(file.read(size))
    return buffers, large


def _mapped(file: int) -> mmap.mmap:
    """Map the file copy-on-write, or read-only if the system does not allow so much writable memory."""
    try:
        return mmap.mmap(file, 0, access=mmap.ACCESS_COPY)
    except OSError:
        return mmap.mmap(file, 0, access=mmap.ACCESS_READ)


class _HashingFile:
    def __init__(self, file: BinaryIO | io.RawIOBase) -> None:
        self._file = file
        self.digest = hashlib.sha256()
        self.modules: set[str] = set()

    def write(self, data: bytes | memoryview) -> int:
        if len(data) <= 2 * _SMALL:
            data = bytes(data)
            self.modules |= {name for name in PRELOADED if name.encode() in data}
            self.digest.update(_without_ids(data))
        else:
            self.digest.update(data)
        return self._file.write(data) or 0

    def write_buffer(self, buffer: memoryview) -> None:
        """Hash and write in parallel: both take equally long and release the lock of the interpreter."""
        if buffer.nbytes < _LARGE:
            self.digest.update(buffer)
            self._file.write(buffer)
            return
        with ThreadPoolExecutor(1) as pool:
            hashing = pool.submit(self.digest.update, buffer)
            self._file.write(buffer)
            hashing.result()


def _without_ids(data: bytes) -> bytes:
    """Replace the random ids that cloudpickle gives to the classes of a cell."""
    ids = getattr(sys.modules["cloudpickle.cloudpickle"], "_DYNAMIC_CLASS_TRACKER_BY_CLASS", {})
    for id in list(ids.values()):
        data = data.replace(id.encode(), b"class")
    return data


def _values(obj: Any) -> Iterator[Any]:
    """Yield an object, and the values of a container."""
    yield obj
    if isinstance(obj, dict | list | tuple):
        yield from islice(obj.values() if isinstance(obj, dict) else obj, _LOOKED_AT)


def new_pickler(obj: Any, file: _HashingFile) -> Any:
    """Return a pickler of cloudpickle that collects `buffers` and `large`, which follow the pickle in the file."""
    large = {id(value): value for value in _values(obj) if isinstance(value, _BYTES) and len(value) >= _LARGE}
    numbers = {key: number for number, key in enumerate(large)}
    # only if there are any: `persistent_id` costs time for each object
    pickler = _pickler_class((lambda value: numbers.get(id(value))) if large else None)(file)
    pickler.large = [memoryview(value) for value in large.values()]
    return pickler


def _pickler_class(persistent_id: Callable[[Any], Any] | None) -> Any:
    """Return a class of picklers that keep large `buffers` for later."""
    import cloudpickle  # late import: a cell that passes no object does not need it

    table: Any = cloudpickle.Pickler.dispatch_table
    of_code = table[CodeType]

    def reduce_code(code: CodeType) -> Any:
        """Use one file name for all cells, because IPython numbers them."""
        return of_code(code.replace(co_filename="<cell>") if _CELL.search(code.co_filename) else code)

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # it has no types
        dispatch_table: ClassVar[Any] = ChainMap({CodeType: reduce_code}, table)

        def __init__(self, file: _HashingFile) -> None:
            self.buffers: list[memoryview] = []
            super().__init__(file, protocol=5, buffer_callback=partial(_keep_buffer, self.buffers))

        def reducer_override(self, obj: Any) -> Any:
            return _reduce_array(obj) if _is_array(obj) else super().reducer_override(obj)

    if persistent_id is None:
        return Pickler
    return type("PersistentPickler", (Pickler,), {"persistent_id": staticmethod(persistent_id)})


def _keep_buffer(kept: list[memoryview], buffer: pickle.PickleBuffer) -> bool:
    """Return whether the buffer stays in the pickle. No method: the pickler would keep itself, and all data, alive."""
    try:
        raw = buffer.raw()
    except BufferError:  # it is not contiguous
        return True
    if raw.nbytes >= _SMALL:
        kept.append(raw)
    return raw.nbytes < _SMALL


class MappedBytes(mmap.mmap):
    """Large `bytes` in memory that kernels share. Slices are `bytes`."""

    def __iter__(self) -> Iterator[int]:
        return iter(memoryview(self))

    def __contains__(self, part: object) -> bool:
        return part in memoryview(self) if isinstance(part, int) else self.find(part) >= 0  # type: ignore[arg-type]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, bytes | bytearray | mmap.mmap) and len(self) == len(other) and self[:] == other[:]

    def __hash__(self) -> int:
        return hash(self[:])

    def __repr__(self) -> str:
        return f"MappedBytes({self[:40]!r} …, {len(self):,} long)"

    def __getattr__(self, name: str) -> Any:
        """Delegate all other methods of `bytes` to a copy."""
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self[:], name)

    def __reduce__(self) -> Any:
        return bytes, (self[:],)


_BYTES = (bytes, MappedBytes)
