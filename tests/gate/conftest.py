from __future__ import annotations

from pathlib import Path

import pytest
from gated_records import OLD, record


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    """A folder that holds the reference."""
    record(tmp_path / "reference" / "hope.parquet", OLD)
    return tmp_path / "reference"
