"""Objects are written to files for other kernels, and changes of an object are noticed."""

from __future__ import annotations

import io
import mmap
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rlm.process.shared_objects import dump, fingerprint, load

SQUARE = np.arange(1_000_000).reshape(1000, 1000)
ARRAYS = {
    "numbers": SQUARE,
    "dates": np.arange(100_000).astype("M8[s]"),
    "durations": SQUARE.astype("m8[us]"),
    "transposed": SQUARE.T,
    "every second column": SQUARE[:, ::2],
    "every third date": np.arange(300_000).astype("M8[ms]")[::3],
    "backwards": np.arange(100_000)[::-1],
    "texts of one length": np.array(["abc", "de"] * 50_000),
}


def _memory(array: Any) -> object:
    """Return the object that owns the memory of an array."""
    while isinstance(array, np.ndarray):
        array = array.base
    return array.obj if isinstance(array, memoryview) else array


@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS)
def test_the_data_of_an_array_is_mapped_whatever_its_type_and_order(array: Any, tmp_path: Path) -> None:
    path = tmp_path / "shared"
    with path.open("wb") as file:
        dump({"array": array}, file)
    loaded = load(path)["array"]
    assert loaded.dtype == array.dtype
    assert (loaded == array).all()
    assert isinstance(_memory(loaded), mmap.mmap)
    loaded[0] = loaded[-1]  # the kernel's changes must not reach the file
    assert (load(path)["array"] == array).all()


class _Counted:
    pickled = 0

    def __reduce__(self) -> Any:
        _Counted.pickled += 1
        return _Counted, ()


MANY = 100_000
CHANGES: dict[str, tuple[Any, Any, Any]] = {
    "list": ([*range(MANY)], 1, 5),
    "object array": (np.array([*map(str, range(MANY))], object), 0, "other"),
    "dates": (np.arange(MANY).astype("M8[s]"), 0, 5),
    "columns": (np.zeros((1000, 1000))[:, ::2], (0, 0), 5),
    "dict": (dict.fromkeys(range(MANY), 0), 1, 5),
    "bytearray": (bytearray(2 << 20), 0, 5),
}


@pytest.mark.parametrize(("value", "place", "other"), CHANGES.values(), ids=CHANGES)
def test_a_change_of_a_large_object_is_noticed(value: Any, place: Any, other: Any) -> None:
    before = fingerprint([value])
    assert fingerprint([value]) == before
    value[place] = other
    assert fingerprint([value]) != before


def test_only_a_sample_of_a_large_array_of_objects_is_read() -> None:
    """A list is read completely, because small changes between two calls are more likely there."""
    counted = [_Counted() for _ in range(MANY)]
    fingerprint({"data": np.array(counted, object)})
    assert 0 < _Counted.pickled < MANY // 10
    fingerprint({"data": counted})
    assert _Counted.pickled > MANY


def test_small_arrays_stay_in_the_pickle() -> None:
    file = io.BytesIO()
    dump(np.arange(10).astype("M8[s]"), file)
    file.seek(0)
    assert (pickle.load(file) == np.arange(10).astype("M8[s]")).all()
