"""Tasks in tables: CSV with the standard library, Parquet with pyarrow, which is only imported for Parquet."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rlm.errors import ConfigError
from rlm.process import files
from rlm.text.encodings import decode

TableRow = tuple[str, dict[str, Any]]
"""The position of a row, and its fields."""

_BATCH = 1024  # rows of a Parquet file per read
_JSON = ("schema", "env", "max_turns", "timeout")
"""Fields that a text cell contains as JSON."""


def read_table(path: Path, columns: Mapping[str, str], fields: Collection[str]) -> Iterator[TableRow]:
    """Yield the fields of each row; an empty cell is no field. A row without an id gets its number.

    `columns` maps fields to columns with other names; all other columns must have the name of a field.

    Raises:
        ConfigError: the table cannot be read, or a cell has an invalid value; the message names its line.
    """
    if unknown := columns.keys() - set(fields):
        raise ConfigError(f"--map: there is no field {min(unknown)}. There are: {', '.join(fields)}.")
    names, rows = _parquet(path) if path.suffix.lower() in (".parquet", ".pq") else _csv(path)
    if missing := [column for column in columns.values() if column not in names]:
        raise ConfigError(f"{path.name} has no column {missing[0]!r}. It has: {', '.join(names)}.")
    wanted = {column: field for field, column in columns.items()}
    wanted |= {name: name for name in names if name in fields and name not in columns and name not in wanted}
    for number, (where, row) in enumerate(rows, 1):
        found = {field: row[column] for column, field in wanted.items() if row[column] not in (None, "")}
        typed = {field: _value(where, field, value) for field, value in found.items()}
        yield where, {"id": number} | typed


def _csv(path: Path) -> tuple[list[str], Iterator[TableRow]]:
    csv.field_size_limit(1 << 30)
    text = io.StringIO(decode(read_file(path)), newline="")
    reader = csv.DictReader(text, delimiter="\t" if path.suffix.lower() == ".tsv" else ",", strict=True)
    try:
        names = list(reader.fieldnames or ())
    except csv.Error as error:
        raise ConfigError(f"{path.name}, line 1: {error}.") from None
    return names, _csv_rows(path.name, reader)


def _csv_rows(name: str, reader: csv.DictReader[str]) -> Iterator[TableRow]:
    while True:
        where = f"{name}, line {reader.line_num + 1}"
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise ConfigError(f"{where}: {error}.") from None
        if None in row or None in row.values():
            raise ConfigError(f"{where}: it has more or fewer cells than the first line.")
        yield where, row


def _parquet(path: Path) -> tuple[list[str], Iterator[TableRow]]:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise ConfigError("Parquet needs pyarrow: install rlm with its extra `parquet`.") from None
    try:
        table = ParquetFile(io.BytesIO(read_file(path)))
    except ArrowException as error:
        raise ConfigError(f"{path.name} is not a Parquet file: {error}") from None
    batches: Iterable[Any] = table.iter_batches(batch_size=_BATCH)
    rows = (row for batch in batches for row in batch.to_pylist())
    return list(table.schema_arrow.names), ((f"{path.name}, row {number}", row) for number, row in enumerate(rows, 1))


def _value(where: str, field: str, value: Any) -> Any:
    """The value of a cell for its field. Typed values of Parquet are unchanged."""
    if field not in _JSON or not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        raise ConfigError(f"{where}: {field} must be JSON, not {value[:60]!r}.") from None


def read_file(path: Path) -> bytes:
    """
    Raises:
        ConfigError: the file cannot be read.
    """
    try:
        return files.read(files.resolve(path))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from None
