from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from small_streams import made_mnist

import nlbench
from nlbench import api, cli
from nlbench.display import console
from nlbench.specs import SOURCES


class Done(NamedTuple):
    code: int
    out: str
    err: str


Command = Callable[..., Done]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """Return a function that runs the command line in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(console.out, "width", 160)

    def call(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["nlbench", *arguments])
        capsys.readouterr()
        code: Any = 0
        try:
            cli.main()
        except SystemExit as stopped:
            code = stopped.code or 0
        return Done(code, *capsys.readouterr())

    return call


def run(command: Command, *more: str, model: str = "mlp", stream: str = "split-digits", seeds: str = "2") -> Done:
    return command("run", "--model", model, "--stream", stream, "--seeds", seeds, *more)


def the_record(folder: str = "results") -> Path:
    (path,) = Path(folder).glob("*.parquet")
    return path


# run


def test_a_run_shows_progress_matrix_metrics_costs_and_the_records_path(command: Command) -> None:
    done = run(command)
    assert done.code == 0
    lines = done.err.splitlines()
    assert lines[0] == "mlp on split-digits (class-il), seeds 0 to 1, batches of 16"
    assert [line.split()[:2] for line in lines[1:]] == [["task", f"{task}/5"] for task in range(1, 6)]
    record = nlbench.load("results")[0]
    mean = record.accuracies.mean(0)
    for task in (0, 3, 5):
        (row,) = [line for line in done.out.splitlines() if line.strip().startswith("no task" if task == 0 else f"task {task}  ")]
        assert row.split()[2:] == [f"{value:.3f}" for value in mean[task]]
    for name in ("average_accuracy", "learning_accuracy", "forgetting", "min_accuracy", "learning_curve_area"):
        (row,) = [line for line in done.out.splitlines() if line.startswith(name + " ")]
        values = list(record.metric(name).values())
        assert row.split()[1] == f"{sum(values) / 2:.3f}"
    (chance,) = [line for line in done.out.splitlines() if line.startswith("chance")]
    assert chance.split()[1] == f"{record.chance.mean():.3f}"
    assert "seconds train" in done.out
    assert "bytes per seed parameters 38.4 kB" in done.out
    assert done.out.splitlines()[-1] == f"record  {the_record()}"
    assert "\x1b" not in done.out + done.err  # no colours where there is no terminal


def test_the_same_command_again_says_that_nothing_ran_and_more_seeds_run_alone(command: Command) -> None:
    first, again, more = run(command), run(command), run(command, seeds="3")
    assert again.code == more.code == 0
    assert again.err == ""
    assert "Every seed was recorded already; nothing ran." in again.out
    assert "Every seed" not in first.out
    assert more.err.startswith("recorded already: 2 of 3 seeds; running seed 2\n")
    assert nlbench.load("results")[0].seeds == (0, 1, 2)


def test_json_is_all_that_json_prints(command: Command) -> None:
    done = run(command, "--format", "json")
    assert (done.code, done.err) == (0, "")
    found = json.loads(done.out)
    record = nlbench.load("results")[0]
    assert found["record"] == str(the_record())
    assert found["seeds_run"] == found["seeds"] == [0, 1]
    assert found["accuracy"] == record.accuracies.mean(0).tolist()
    assert found["metrics"]["forgetting"]["by_seed"] == {str(seed): value for seed, value in record.metric("forgetting").items()}
    assert (
        found["metrics"]["forgetting"]["low"] <= found["metrics"]["forgetting"]["mean"] <= found["metrics"]["forgetting"]["high"]
    )
    assert json.loads(run(command, "--format", "json").out)["seeds_run"] == []


def test_what_was_not_measured_is_a_dash_with_its_reason_and_null_in_json(command: Command) -> None:
    done = run(command, "--set", "protocol.evaluate=seen", "--set", "protocol.evaluate_every=100000000")
    (row,) = [line for line in done.out.splitlines() if line.startswith("forward_transfer")]
    assert row.split()[1] == "–"
    assert "needs" in row
    row = next(line for line in done.out.splitlines() if line.strip().startswith("task 1  "))
    assert row.split()[3:] == ["–"] * 4
    found = json.loads(
        run(command, "--set", "protocol.evaluate=seen", "--set", "protocol.evaluate_every=100000000", "--format", "json").out
    )
    assert found["metrics"]["forward_transfer"]["mean"] is None
    assert "needs" in found["metrics"]["forward_transfer"]["reason"]
    assert found["accuracy"][1][1:] == [None] * 4


def test_a_learner_at_chance_is_marked(command: Command) -> None:
    marked, unmarked = ("\nat chance " in run(command, model=model).out for model in ("chance", "mlp"))
    assert marked
    assert not unmarked


def test_overrides_scenario_and_seeds_reach_the_plan(command: Command) -> None:
    done = run(
        command,
        "--set",
        "learner.hidden=[8]",
        "--set",
        "protocol.passes=2",
        "--scenario",
        "task-il",
        "--format",
        "json",
        seeds="4,",
    )
    assert done.code == 0
    said = nlbench.load("results")[0].footer
    assert said.learner_spec["learner"]["hidden"] == [8]
    assert said.stream_spec["protocol"]["passes"] == 2
    assert (said.scenario, said.seeds) == ("task-il", [4])


def test_force_runs_anew(command: Command) -> None:
    run(command)
    assert json.loads(run(command, "--force", "--format", "json").out)["seeds_run"] == [0, 1]


def test_a_dry_run_prints_what_would_happen_and_leaves_nothing(command: Command, tmp_path: Path) -> None:
    done = run(command, "--dry-run", model="cms")
    assert done.code == 0
    for part in ("learner.periods", "steps", "level of period 16", "bytes per seed", "about", "fingerprint"):
        assert part in done.out
    found = json.loads(run(command, "--dry-run", "--format", "json", model="cms").out)
    assert found["steps"] == 91
    assert found["updates"] == {"1": 91, "4": 22, "16": 5}
    assert found["learner_spec"]["learner"]["periods"] == [1, 4, 16]
    assert list(tmp_path.iterdir()) == []
    done = run(command, model="cms")
    assert the_record().name == f"cms.split-digits.{found['fingerprint']}.parquet"


LEARNER = """
import os
import torch
from nlbench import Learner

class MyLearner(Learner):
    def __init__(self, config, problem):
        self.sums = torch.zeros(len(problem.seeds), problem.n_classes, problem.n_inputs)
        self.steps = torch.zeros(())

    def observe(self, batch):
        self.steps += 1
        if str(int(self.steps)) == os.environ.get("STOP_AT"):
            raise KeyboardInterrupt
        self.sums += torch.nn.functional.one_hot(batch.labels, self.sums.shape[1]).float().mT @ batch.inputs.flatten(2)
        return torch.zeros(len(self.sums))

    def predict(self, inputs, task):
        return inputs.flatten(2) @ self.sums.mT
"""


@pytest.mark.parametrize("form", ["table", "json"])
def test_an_interrupted_run_exits_130_and_the_same_command_resumes(
    form: str, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("my_learner.py").write_text(LEARNER)
    monkeypatch.setenv("STOP_AT", "40")
    stopped = run(command, "--format", form, model="./my_learner.py:MyLearner")
    assert stopped.code == 130
    assert stopped.err.splitlines()[-1].startswith("nlbench: interrupted")
    assert "What is done is kept in results; the same command resumes." in stopped.err
    assert ("after 2 of 5 tasks" in stopped.err) == (form == "table")
    assert not list(Path("results").glob("*.parquet"))
    monkeypatch.setenv("STOP_AT", "1")  # a run from the start would stop again
    resumed = run(command, "--format", form, model="./my_learner.py:MyLearner")
    assert resumed.code == 0
    monkeypatch.delenv("STOP_AT")
    run(command, "--results", "whole", model="./my_learner.py:MyLearner")
    assert (nlbench.load("results")[0].accuracies == nlbench.load("whole")[0].accuracies).all()
    assert nlbench.load("results")[0].model == "MyLearner"


# errors


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("run", "-m", "mpl", "-s", "split-digits"), "nlbench: unknown model 'mpl'. Did you mean mlp?"),
        (("run", "-m", "mlp", "-s", "split-digit"), "nlbench: unknown stream 'split-digit'. Did you mean split-digits"),
        (
            ("run", "-m", "./no.py:X", "-s", "split-digits"),
            "nlbench: no.py: there is no such file. Name a learner as ./file.py:Class.",
        ),
        (
            ("run", "-m", "mlp", "-s", "split-digits", "--seeds", "x"),
            "nlbench: seeds must be a number, or numbers separated by commas, got 'x'.",
        ),
        (
            ("run", "-m", "mlp", "-s", "split-digits", "--set", "rate"),
            "nlbench: --set rate: must be key=value, such as learner.rate=0.05.",
        ),
        (("run", "-m", "mlp", "-s", "split-digits", "--set", "rate=1"), "nlbench: --set rate: must be one of stream.<key>"),
        (("run", "-m", "mlp", "-s", "split-digits", "--device", "gpu"), "nlbench: device must be auto, cpu or cuda, got 'gpu'."),
        (
            ("run", "-m", "mlp", "-s", "split-digits", "--backend", "numbra"),
            "nlbench: unknown backend 'numbra'. Did you mean numba",
        ),
        (
            ("run", "-m", "mlp", "-s", "split-digits", "--precision", "fp16"),
            "nlbench: unknown precision 'fp16'. Did you mean bf16?",
        ),
        (
            ("run", "-m", "cms", "-s", "split-digits", "--precision", "bf16"),
            "nlbench: learner 'cms' has no products in bf16: it declares float32. Leave --precision out,",
        ),
        (
            ("tune", "-m", "cms", "-s", "split-digits", "--space", "learner.rate=1", "--precision", "bf16"),
            "nlbench: learner 'cms' has no products in bf16",
        ),
        (
            ("run", "-m", "mlp", "-s", "split-digits", "--results", "file/x"),
            "nlbench: file/x: results cannot be written: Not a directory.",
        ),
        (
            ("run", "-m", "mlp", "-s", "split-digits", "--device", "meta"),
            "nlbench: device must be auto, cpu or cuda, got 'meta'.",
        ),
        (("bench", "kernels", "--device", "mps"), "nlbench: device must be auto, cpu or cuda, got 'mps'."),
        (("run", "-m", "mlp", "-s", "split-digits", "--seeds", "18446744073709551616,"), "nlbench: seeds must be at least one"),
        (
            ("tune", "-m", "mlp", "-s", "split-digits", "--space", "learner.rate=1", "--objective", "intransigence"),
            "nlbench: objective intransigence cannot be measured on 3 tasks: it needs other runs.",
        ),
        (
            ("tune", "-m", "mlp", "-s", "online-permuted-mnist", "--space", "learner.rate=1", "--objective", "forgetting"),
            "nlbench: objective forgetting cannot be measured on 3 tasks: needs rows 1..T of tasks 1..T−1",
        ),
        (
            ("tune", "-m", "mlp", "-s", "split-digits", "--space", "learner.rate=1", "--objective", "forgetting", "--tasks", "1"),
            "nlbench: objective forgetting cannot be measured on 1 tasks: ",
        ),
        (("run", "-m", "mlp", "-s", "split-digits", "--set", "learner.rate=1e30"), "nlbench: seed 0, task 1, step "),
        (
            ("tune", "-m", "mlp", "-s", "split-digits", "--space", "protocol.passes=1,2"),
            "nlbench: --space protocol.passes: a search varies learner.<key> and batch only. Fix other facts",
        ),
        (
            ("tune", "-m", "mlp", "-s", "split-digits", "--space", "presents=sequential,cumulative"),
            "nlbench: --space presents: a search varies",
        ),
        (("check", "empty", "--update", "--junit", "x.xml"), "nlbench: --update writes no report: it takes no --junit, "),
        (("check", "empty", "--update", "--markdown", "x.md"), "nlbench: --update writes no report: it takes no --junit, "),
        (("check", "empty", "--update", "--format", "json"), "nlbench: --update writes no report: it takes no --junit, "),
        (("show", "mpl"), "nlbench: unknown model, stream or record 'mpl'. Did you mean mlp?"),
        (("show", "no.parquet"), "nlbench: no.parquet does not exist."),
        (("validate", "no.toml"), "nlbench: no.toml: cannot be read: No such file or directory."),
        (("compare", "empty"), "nlbench: no record found in empty."),
        (("data", "verify", "minst"), "nlbench: unknown data set 'minst'. Did you mean mnist?"),
    ],
)
def test_what_a_user_can_mend_is_one_line_and_exit_2(arguments: tuple[str, ...], line: str, command: Command) -> None:
    Path("file").touch()
    Path("empty").mkdir()
    done = command(*arguments)
    assert done.code == 2
    assert done.err.splitlines()[-1].startswith(line)
    assert "Traceback" not in done.err
    assert not list(Path().glob("**/*.parquet"))


@pytest.mark.parametrize(
    "arguments",
    [
        ("run",),
        ("run", "--model", "mlp"),
        ("run", "--model", "mlp", "--stream", "split-digits", "--sedes", "3"),
        ("run", "--model", "mlp", "--stream", "split-digits", "--format", "yaml"),
        ("rnu",),
        ("list", "modles"),
        ("compare",),
    ],
)
def test_a_usage_error_exits_2_without_a_traceback(arguments: tuple[str, ...], command: Command) -> None:
    done = command(*arguments)
    assert done.code == 2
    assert "Traceback" not in done.err
    assert "Usage:" in done.err


def test_a_defect_exits_70_and_debug_shows_where(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any, **options: Any) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(api, "resolve", broken)
    done = run(command)
    assert done.code == 70
    assert done.err.startswith("nlbench: defect: ZeroDivisionError: division by zero. Run again with --debug")
    traced = run(command, "--debug")
    assert traced.code == 70
    assert traced.err.startswith("Traceback")
    assert traced.err.endswith("ZeroDivisionError: division by zero\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("arguments", [("list", "metrics"), ("show", "mlp", "--format", "json")])
def test_an_output_that_is_full_is_one_line_and_exit_2(arguments: tuple[str, ...]) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-m", "nlbench", *arguments], stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (2, "nlbench: output: No space left on device.\n")


def test_debug_also_shows_where_a_mendable_error_comes_from(command: Command) -> None:
    for arguments in (("run", "-m", "mpl", "-s", "split-digits"), ("check", "mpl.parquet")):
        done = command("--debug", *arguments)
        assert done.code == 2  # not Python's 1, which is a verdict
        assert done.err.startswith("Traceback")
        assert "mpl" in done.err.splitlines()[-1]


def test_validate_reports_every_broken_rule_of_every_file(command: Command) -> None:
    Path("s.toml").write_text('title = "t"\n[stream]\nkind = "split"\nsource = "mnits"\n[protocol]\nbatch = 0\npases = 2\n')
    Path("r.toml").write_text('titel = 1\n[learner]\nkind = "mlp"\nrate = "fast"\n')
    Path("good.toml").write_text('[learner]\nkind = "mlp"\n')
    done = command("validate", "s.toml", "r.toml", "good.toml")
    assert done.code == 2
    assert done.out == "good.toml: a learner, no rule broken\n"
    keys = [line.removeprefix("nlbench: ").split(": ")[:2] for line in done.err.splitlines()]
    assert sorted(map(tuple, keys)) == [
        ("r.toml", "learner.rate"),
        ("r.toml", "titel"),
        ("s.toml", "protocol.batch"),
        ("s.toml", "protocol.pases"),
        ("s.toml", "stream.source"),
        ("s.toml", "stream.tasks"),
    ]


# looking


def test_list_shows_models_streams_metrics_and_records(command: Command) -> None:
    everything = command("list")
    assert everything.code == 0
    for part in ("mlp", "split-digits", "backward_transfer", "no records in results yet"):
        assert part in everything.out
    assert "split-digits" not in command("list", "models").out
    assert "mlp " not in command("list", "streams").out
    run(command)
    listed = command("list", "records").out
    assert the_record().name in listed
    assert "mlp" in listed


def test_show_prints_declarations_and_records(command: Command) -> None:
    assert 'kind = "split"' in command("show", "split-digits").out
    assert json.loads(command("show", "mlp", "--format", "json").out)["declaration"]["learner"]["kind"] == "mlp"
    Path("mine.toml").write_text('[learner]\nkind = "mlp"\n')
    assert json.loads(command("show", "mine.toml", "--format", "json").out)["kind"] == "learner"
    run(command)
    shown = command("show", str(the_record()))
    assert shown.code == 0
    for part in ("average_accuracy", "provenance", "fingerprint", "learner_spec.learner.hidden"):
        assert part in shown.out
    assert json.loads(command("show", str(the_record()), "--format", "json").out)["metadata"]["model"] == "mlp"


def test_validate_refuses_a_learner_whose_file_is_missing_as_run_does(command: Command) -> None:
    Path("mine.toml").write_text('[learner]\nkind = "./nofile.py:X"\n')
    for done in (command("validate", "mine.toml"), run(command, model="mine.toml")):
        assert done.code == 2
        assert done.err.startswith("nlbench: nofile.py: there is no such file.")


def test_validate_and_run_agree_on_streams_a_recipe_may_name(command: Command) -> None:
    recipe = '[learner]\nkind = "mlp"\n[on."{}"]\nrate = 0.5\n'
    for own in ("own-stream", "split-digits-long", "rotated-digits"):
        Path("mine.toml").write_text(recipe.format(own))
        assert command("validate", "mine.toml").code == 0
        assert run(command, "--dry-run", model="mine.toml").code == 0
    for mistyped in ("split-digit", "split-dgits", "permuted-minst"):
        Path("mine.toml").write_text(recipe.format(mistyped))
        for done in (command("validate", "mine.toml"), run(command, "--dry-run", model="mine.toml")):
            assert done.code == 2
            assert done.err.startswith(f'nlbench: mine.toml: on."{mistyped}": unknown stream {mistyped!r}. Did you mean ')


def test_show_takes_several_as_a_shells_star_gives_them(command: Command) -> None:
    for rate in ("0.1", "0.2"):
        run(command, "--set", f"learner.rate={rate}", seeds="1")
    paths = sorted(map(str, Path("results").glob("mlp.split-digits.*.parquet")))
    done = command("show", *paths, "cms")
    assert done.code == 0
    assert done.out.count("mlp on split-digits (class-il)") == 2
    assert "learner cms" in done.out
    listed = json.loads(command("show", *paths, "--format", "json").out)
    assert sorted(one["metadata"]["learner_spec"]["learner"]["rate"] for one in listed) == [0.1, 0.2]


def test_validate_checks_a_record(command: Command) -> None:
    run(command)
    assert command("validate", str(the_record())).out == f"{the_record()}: a record, no rule broken\n"


def test_data_verify_names_what_is_here_and_what_is_not(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(SOURCES, "mnist", made_mnist(tmp_path / "data"))
    here = command("data", "verify", "digits", "mnist", "--data", "data")
    assert here.code == 0
    assert here.out.splitlines()[1] == "mnist: 4 files verified in data/MNIST/raw"
    missing = command("data", "verify", "mnist", "fashion-mnist", "--data", "data")
    assert missing.code == 2
    assert missing.out.startswith("mnist: 4 files verified")
    assert missing.err.startswith("nlbench: fashion-mnist: not found in data/FashionMNIST/raw.")
    (tmp_path / "data/MNIST/raw/train-labels-idx1-ubyte").write_bytes(b"other")
    changed = command("data", "verify", "mnist", "--data", "data")
    assert changed.code == 2
    assert "train-labels-idx1-ubyte: SHA-256 must be" in changed.err


def test_version(command: Command) -> None:
    assert command("--version") == Done(0, f"{nlbench.__version__}\n", "")


def test_the_module_runs_as_a_command_of_its_own(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "nlbench",
        "run",
        "-m",
        "mlp",
        "-s",
        "split-digits",
        "--seeds",
        "1",
        "--results",
        str(tmp_path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "60"})
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == f"record  {the_record(str(tmp_path))}"  # however narrow the terminal
    wrong = subprocess.run([*command[:3], "run", "-m", "mlp"], capture_output=True, text=True, check=False)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "Traceback" not in wrong.stderr
