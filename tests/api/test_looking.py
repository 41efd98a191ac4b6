from __future__ import annotations

from pathlib import Path

from small_streams import small_stream

from nlbench.api import look


def test_a_stream_of_the_catalog_or_of_arrays_is_looked_at_and_drawn(tmp_path: Path) -> None:
    found = look("split-digits", figures=tmp_path)
    assert [task.labels for task in found.tasks] == [(0, 1), (2, 3), (4, 5), (6, 7), (8, 9)]
    assert (tmp_path / "split-digits.samples.png").stat().st_size > 1000
    assert look(small_stream()).tasks[0].samples is None
