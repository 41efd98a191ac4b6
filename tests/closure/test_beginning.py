"""When a process began: never later than its first line, and not long before."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from nlbench.closure import beginning


@pytest.mark.skipif(not beginning._STAT.exists(), reason="the system does not tell when a process began")
def test_a_process_began_shortly_before_its_first_line() -> None:
    before = time.time()
    text = "import time; first = time.time(); time.sleep(1)\nfrom nlbench.closure.beginning import began; print(first, began())"
    answer = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    first, began = map(float, answer.stdout.split())
    assert before - 2 * beginning._CLOCKS < began < first


@pytest.mark.parametrize("text", [None, "", "1 (a) b) S 1", f"1 (a) {'x ' * 30}"])
def test_where_the_system_does_not_tell_it_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None) -> None:
    monkeypatch.setattr(beginning, "_STAT", tmp_path / "stat")
    if text is not None:
        (tmp_path / "stat").write_text(text)
    assert beginning.began() == 0.0
