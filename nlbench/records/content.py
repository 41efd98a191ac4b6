"""A record file read once, and what stands in it; nothing is used before it was checked, and no memory taken before it was asked
whether a record needs so much.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from nlbench.escaping import name_fault
from nlbench.records import limits
from nlbench.records.columns import Columns
from nlbench.records.footer import Footer, NotARecordError, check_columns, parse
from nlbench.records.schema import CONSTANT, METADATA_KEY, SCHEMA, SEALED_SINCE, belongs_first, check_finite
from nlbench.records.seal import is_sealed
from nlbench.records.storage import NO_FILE, storage

_NAMES: Final = ("model", "stream")
"""Texts of a footer that no digest is made of: each reader compares them with those of the rows."""
_TEXTS: Final = tuple(field.name for field in SCHEMA if field.type == pa.string())


@dataclass(frozen=True, eq=False)
class Content:
    """The bytes of a record file as they were when it was opened, whatever becomes of the file."""

    path: Path
    data: bytes
    sealed: bool
    """Whether it has a checksum, which then is its own."""

    @classmethod
    def of(cls, path: Path) -> Content:
        """Return the bytes of a file. Raises NotARecordError where there are none or too many, RecordError where they changed."""
        try:
            with storage(path).open(path) as file:
                data = file.read(limits.MOST_BYTES + 1)
        except OSError as error:
            raise NotARecordError(f"{path} {_why(error, path)}.") from error
        return cls.of_bytes(data, path)

    @classmethod
    def of_bytes(cls, data: bytes, path: Path) -> Content:
        """Return what was read from a file. Raises as `of`."""
        limits.check_size(len(data), path)
        if not (len(data) > 12 and data[:4] == data[-4:] == b"PAR1"):
            raise NotARecordError(f"{path} is not a Parquet file, or it was cut short.")
        return cls(path, data, is_sealed(data, path))

    def begin(self) -> tuple[Footer, Columns]:
        """Return the footer, and the rows of row group 0."""
        texts = ["metric", *_NAMES]
        with self._parquet(texts) as file:
            footer = self._footer(file)
            if not file.num_row_groups:
                raise NotARecordError(f"{self.path} holds no rows.")
            first = file.read_row_group(0, columns=[*Columns.SOURCE, *_NAMES], use_threads=False)
            first.validate(full=True)  # codes within their dictionary, text in UTF-8: Arrow reads a damaged page without a word
            self._check_texts(first, texts)
            self._check_constant(first, footer, _NAMES)
            check_finite(first, str(self.path))
            columns = Columns.of(first, str(self.path))
        self._check_first(columns, footer)
        return footer, columns

    def table(self, footer: Footer) -> pa.Table:
        """Return every row, with the columns of the schema; those that repeat the footer in each row must agree with it."""
        with self._parquet(_TEXTS) as file:
            numbers = range(file.num_row_groups)
            groups = [file.read_row_group(number, columns=SCHEMA.names, use_threads=False) for number in numbers]
            for group in groups:
                group.validate(full=True)
            table = pa.concat_tables(groups).unify_dictionaries()
            self._check_texts(table, _TEXTS)
            self._check_constant(table, footer, CONSTANT)
            strangers = set(_distinct(table, "run")) - {execution.run for execution in footer.runs}
            if strangers:
                raise NotARecordError(f"{self.path}: column run: names {min(strangers)}, which the metadata do not.")
            for name in {name for group in groups[1:] for name in _distinct(group, "metric")}:
                if belongs_first(name, ()):
                    raise NotARecordError(f"{self.path}: rows of {name} must lie in row group 0.")
            table = table.cast(SCHEMA)
            check_finite(table, str(self.path))
        return table

    def _check_constant(self, table: pa.Table, footer: Footer, names: Sequence[str]) -> None:
        """Refuse a column that does not say in each row what the footer says."""
        for name in names:
            if _distinct(table, name) != [getattr(footer, name)]:
                raise NotARecordError(f"{self.path}: column {name}: must be {getattr(footer, name)} as the metadata say.")

    def _footer(self, file: pq.ParquetFile) -> Footer:
        limits.check_rows(file.metadata, self.path)
        text = (file.metadata.metadata or {}).get(METADATA_KEY)
        if text is None:
            raise NotARecordError(f"{self.path} is a Parquet file but not a record of nlbench.")
        limits.check_text(text, self.path)
        footer = parse(text, self.path)
        if footer.schema_version >= SEALED_SINCE and not self.sealed:
            raise NotARecordError(f"{self.path}: must have a checksum, got none.")
        check_columns(file.schema_arrow, self.path)
        limits.check_shape(footer, file.metadata.num_rows, self.path)
        return footer

    def _check_first(self, columns: Columns, footer: Footer) -> None:
        known = footer.metric_versions
        if isinstance(known, dict):
            for name in columns.names:
                if not belongs_first(name, known.keys()):
                    raise NotARecordError(f"{self.path}: rows of {name} must not lie in row group 0.")
        columns.check(footer.seeds, footer.n_tasks, str(self.path))
        columns.check_keys(str(self.path), of_seeds=True)

    def _check_texts(self, table: pa.Table, names: Sequence[str]) -> None:
        """Refuse a null, a text that is no name, and more text than memory is taken for."""
        size = 0
        for name in names:
            if table[name].null_count:
                what = "name a metric" if name == "metric" else "have a value"
                raise NotARecordError(f"{self.path}: column {name}: must {what} in every row, got null.")
            longest = 0
            for value in _distinct(table, name):
                longest = max(longest, len(value))
                if rule := name_fault(value):
                    raise NotARecordError(f"{self.path}: column {name}: {rule}, got {value[:60]!r}.")
            size += longest * table.num_rows
        if size > limits.MOST_BYTES:
            raise NotARecordError(f"{self.path}: its texts: must be at most {limits.MOST_BYTES:,} bytes, got {size:,}.")

    @contextmanager
    def _parquet(self, texts: Sequence[str]) -> Iterator[pq.ParquetFile]:
        """Give the Parquet file, which reads these columns as codes into their distinct strings; what is wrong with it becomes a
        NotARecordError.
        """
        try:
            with pq.ParquetFile(
                pa.BufferReader(self.data),
                read_dictionary=list(texts),
                pre_buffer=False,  # all of it is in memory
                page_checksum_verification=not self.sealed,
                thrift_string_size_limit=16 * limits.MOST_METADATA,
                thrift_container_size_limit=limits.MOST_METADATA,
            ) as file:
                yield file
        except KeyError as error:  # pyarrow, on a file without a column
            raise NotARecordError(f"{self.path} is a Parquet file but not a record of nlbench.") from error
        except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
            raise NotARecordError(f"{self.path} is not a Parquet file, or it was cut short or damaged.") from error


def _distinct(table: pa.Table, name: str) -> list[str]:
    """Return the distinct strings of a column, sorted."""
    column = table[name]
    if pa.types.is_dictionary(column.type):
        used = {value for chunk in column.chunks for value in pc.unique(chunk).dictionary.to_pylist()}
        return sorted(used)
    return sorted(pc.unique(column).to_pylist())


def _why(error: OSError, path: Path) -> str:
    """Return why a file is not there, or cannot be read."""
    if isinstance(error, IsADirectoryError) or (isinstance(error, FileNotFoundError) and path.is_dir()):
        return "is a folder, not a record"
    if isinstance(error, FileNotFoundError):
        return "does not exist"
    return NO_FILE if error.strerror == NO_FILE else f"cannot be read: {error.strerror or 'it is damaged'}"
