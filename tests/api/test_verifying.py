"""Claims from Python: chosen by name or file, tried with the same facts as a run."""

from __future__ import annotations

from pathlib import Path

import pytest
from gpu_machine import smi

from nlbench import api, runner
from nlbench.api import verifying
from nlbench.errors import SpecError

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


def test_records_in_a_bucket_are_looked_for_there_and_no_folder_is_made(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("guess.toml").write_text(CLAIM)
    *_, judged = api.verify(["guess.toml"], "memory://bucket/results", engine="here", device="cpu")
    assert "cannot write memory://bucket/results/chance.split-digits" in judged.findings[0].reason
    assert [path.name for path in tmp_path.iterdir()] == ["guess.toml"]


OWN = """import nlbench
from torch import zeros


class Own(nlbench.Learner):
    def __init__(self, config, problem):
        self.shape, self.rate = (len(problem.seeds), problem.n_classes), config.get("rate", 0.1)

    def observe(self, batch):
        return zeros(self.shape[0])

    def predict(self, inputs, task):
        return zeros(self.shape[0], inputs.shape[1], self.shape[1])
"""


@pytest.mark.parametrize(
    ("model", "value", "line"),
    [
        ("./own.py:Own", '"learner.rte" = 0.2', "learner.rte: is no option that ./own.py:Own reads (did you mean rate?)"),
        ("./own.py:Onw", "", "unknown learner in ./own.py 'Onw'. Did you mean Own?"),
        ("hat", '"stream.scenario" = "class-il"', "hat needs to know at test whose a sample is"),
    ],
)
def test_what_would_stop_a_run_when_it_begins_is_told_before_any_does(tmp_path, monkeypatch, model, value, line) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(OWN)
    own = f'guess = {{ model = "{model}", stream = "split-digits", set = {{ {value} }} }}'
    Path("claim.toml").write_text(CLAIM.replace('guess = { model = "chance", stream = "split-digits" }', own))
    with pytest.raises(SpecError) as error:
        list(api.verify(["claim.toml"], "results", engine="here", device="cpu"))
    assert error.value.problems[0].startswith(f"claim.toml: cells.guess: {line}")
    assert not Path("results").exists()


def test_a_stream_of_several_runs_is_cut_once_to_prove_their_learners(tmp_path, monkeypatch) -> None:
    built, build = [], runner.build_stream
    monkeypatch.setattr(runner, "build_stream", lambda plan, machine: built.append(plan.model) or build(plan, machine))
    claim = CLAIM.replace("cells.guess", 'cells.plain = { model = "mlp", stream = "split-digits" }\ncells.guess')
    holds = 'kind = "order", above = "plain", below = "guess"'
    (tmp_path / "claim.toml").write_text(claim.replace('kind = "value", of = "guess", equals = 0.1, band = 0.05', holds))
    verifying.prove(api.trials([str(tmp_path / "claim.toml")]), tmp_path / "results", device="cpu")
    assert built == ["mlp"]
    assert not (tmp_path / "results").exists()


def test_runs_of_claims_share_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    smi(tmp_path, monkeypatch, "0, GPU-a, 40960")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("joblib.cpu_count", lambda: 16)
    assert verifying.claim_engine().slots == 5
    assert verifying.claim_engine(workers=2).slots == 2
    assert verifying.claim_engine(device="cpu").slots == 16
