"""Not a bit of a record can change unseen, and a file without a checksum is read only if it is older than checksums."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from synthetic_records import forge, make_record, matrix

from nlbench.errors import NlbenchError, RecordError
from nlbench.records import Record, Row, read_record, read_records, rewrite_record
from nlbench.records.schema import METADATA_KEY
from nlbench.records.seal import EMPTY, KEY, is_sealed, sealed

OLDEST = Path(__file__).parent / "data" / "schema-1.parquet"
WITHIN = [Row(0, 0, 1, 10 * step, "accuracy_within", 0.5, 50) for step in range(40)]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Record:
    folder = tmp_path_factory.mktemp("sealed")
    return make_record(folder / "r.parquet", {0: matrix(0.6, 0.9), 3: matrix(0.7, 0.95)}, extra=WITHIN)


def test_a_flipped_bit_is_seen_wherever_it_is(tmp_path: Path, good: Record) -> None:
    content = good.path.read_bytes()
    bad = tmp_path / "bad.parquet"
    bits = np.random.default_rng(15).choice(8 * len(content), 400, replace=False)
    for bit in bits.tolist():
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        bad.write_bytes(changed)
        with pytest.raises(NlbenchError, match=r"bad\.parquet"):
            read_records([bad])


def test_damage_is_told_from_what_is_no_record(tmp_path: Path, good: Record) -> None:
    content = bytearray(good.path.read_bytes())
    content[len(content) // 3] ^= 4
    bad = tmp_path / "bad.parquet"
    bad.write_bytes(content)
    with pytest.raises(RecordError, match=r"bad\.parquet: is damaged, or was changed after it was written"):
        read_record(bad)


def test_other_readers_find_checksums_of_pages(tmp_path: Path, good: Record) -> None:
    content = bytearray(good.path.read_bytes())
    column = pq.ParquetFile(good.path).metadata.row_group(0).column(10)
    content[column.data_page_offset + column.total_compressed_size - 3] ^= 1
    bad = tmp_path / "bad.parquet"
    bad.write_bytes(content)
    with pytest.raises(OSError, match="CRC"):
        pq.read_table(bad, page_checksum_verification=True)


def test_older_records_are_read_and_marked(tmp_path: Path, good: Record) -> None:
    old = Path(shutil.copy(OLDEST, tmp_path / "old.parquet"))
    assert not read_record(old).sealed
    assert good.sealed
    rewrite_record(read_record(old), old)
    assert read_record(old).sealed


def test_a_record_of_today_without_a_checksum_is_refused(tmp_path: Path, good: Record) -> None:
    file = pq.ParquetFile(good.path)
    groups = [file.read_row_group(index) for index in range(2)]
    bad = forge(tmp_path / "bad.parquet", groups, file.metadata.metadata[METADATA_KEY], seal=False)
    with pytest.raises(RecordError, match=r"bad\.parquet: must have a checksum, got none"):
        read_record(bad)


def test_the_checksum_is_of_all_other_bytes(good: Record, tmp_path: Path) -> None:
    content = good.path.read_bytes()
    assert is_sealed(content, good.path)
    stored = pq.ParquetFile(good.path).metadata.metadata[KEY.encode()]
    assert stored != EMPTY.encode()
    assert sealed(content.replace(stored, EMPTY.encode())) == content
    with pytest.raises(ValueError, match=KEY):
        sealed(OLDEST.read_bytes())


@given(data=st.data())
@settings(max_examples=150, deadline=5000, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_file_that_is_changed_and_sealed_anew_is_read_or_refused_in_one_line(
    data: st.DataObject, good: Record, tmp_path: Path
) -> None:
    content = bytearray(good.path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place : place + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=6))
    stored = pq.ParquetFile(good.path).metadata.metadata[KEY.encode()]
    try:
        changed = sealed(bytes(content).replace(stored, EMPTY.encode()))
    except ValueError:  # what was changed is the place of the checksum
        changed = bytes(content)
    bad = tmp_path / "bad.parquet"
    bad.write_bytes(changed)
    try:
        assert read_record(bad).seeds
    except NlbenchError as error:
        assert "bad.parquet" in str(error)  # noqa: PT017
        assert "\n" not in str(error)  # noqa: PT017
