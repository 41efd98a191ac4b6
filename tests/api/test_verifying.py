"""Claims from Python: chosen by name or file, tried with the same facts as a run."""

from __future__ import annotations

from pathlib import Path

from nlbench import api
from nlbench.api import verifying

CLAIM = """title = "T"
statement = "S"
seeds = 6
source.paper = "P"
cells.guess = { model = "chance", stream = "split-digits" }
holds = [{ kind = "value", of = "guess", equals = 0.1, band = 0.05 }]
"""


def test_a_claim_of_a_file_is_tried_and_judged(tmp_path: Path) -> None:
    (tmp_path / "guess.toml").write_text(CLAIM)
    events = list(api.verify([str(tmp_path / "guess.toml")], tmp_path / "results", engine="here", device="cpu"))
    assert [type(each).__name__ for each in events] == ["Outcome", "Judged"]
    assert verifying.exit_status(events[1:]) == 0
    chosen = api.trials([str(tmp_path / "guess.toml")], seeds=3)
    (_, judged) = api.verify(chosen, tmp_path / "results", engine="here", device="cpu")
    assert judged.findings[0].seeds == 3
