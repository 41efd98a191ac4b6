from __future__ import annotations

from pathlib import Path

import pytest
from compared_records import TEN, learner, spread

from nlbench.records import Record


@pytest.fixture
def trio(tmp_path: Path) -> list[Record]:
    return [
        learner(tmp_path, "mlp", spread(0.2, 10), memory_bytes=1000, seconds=10.0),
        learner(tmp_path, "hope", [0.8 + 0.003 * seed for seed in TEN], memory_bytes=3000, seconds=40.0),
        learner(tmp_path, "joint", spread(0.94, 10, 0.002), memory_bytes=1000, seconds=90.0),
    ]
