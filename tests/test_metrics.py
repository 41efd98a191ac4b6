"""The table of metrics: what each is, those of files and packages, and where one means nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from synthetic_records import make_record, matrix

import nlbench
from nlbench import metrics
from nlbench.errors import NlbenchError, UnknownNameError
from nlbench.metrics import METRICS, compute


def test_metrics_that_need_other_records_are_only_in_comparisons() -> None:
    assert {"gain", "intransigence", "gap_closed"} == set(METRICS) - set(compute(np.full((3, 2), 0.5)))


def test_every_metric_says_what_it_is() -> None:
    for name, metric in METRICS.items():
        assert metric.name == name
        assert metric.formula
        assert metric.source
        assert metric.function.__doc__
        assert metric.range[0] < metric.range[1]


PLUGIN = '''
import numpy as np

from nlbench.metrics import Metric


def last_accuracy(accuracy):
    """R[T,T]: the accuracy on the last task at the end, in [0, 1]."""
    return np.asarray(accuracy)[..., -1, -1]


LAST = Metric("last_accuracy", "R[T,T]", (0.0, 1.0), "higher", "a user", "accuracy", last_accuracy)
TAKEN = Metric("forgetting", "R[T,T]", (0.0, 1.0), "higher", "a user", "accuracy", last_accuracy)
REFERRING = Metric("mine", "R[T,T]", (0.0, 1.0), "higher", "a user", "references", last_accuracy)
'''


def test_a_metric_of_a_file_is_compared_like_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "plugin.py").write_text(PLUGIN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(metrics, "METRICS", dict(metrics.METRICS))
    assert metrics.known("./plugin.py:LAST") == "last_accuracy" == metrics.known("last_accuracy")
    assert metrics.compute(np.full((3, 2), 0.25))["last_accuracy"].value == 0.25
    for name, rule in [("TAKEN", "must have a name of its own, got 'forgetting'"), ("REFERRING", "must need no other record")]:
        with pytest.raises(NlbenchError, match=rule):
            metrics.known(f"./plugin.py:{name}")
    with pytest.raises(NlbenchError, match=r"plugin\.py:last_accuracy: must be a nlbench.metrics.Metric"):
        metrics.known("./plugin.py:last_accuracy")
    with pytest.raises(UnknownNameError, match=r"unknown metric 'forgeting'. Did you mean forgetting"):
        metrics.known("forgeting")


def test_a_registered_metric_is_listed_and_computed_of_records_that_never_knew_it(tmp_path: Path) -> None:
    (tmp_path / "plugin.py").write_text(PLUGIN)
    (tmp_path / "plugin-1.0.dist-info").mkdir()
    (tmp_path / "plugin-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: plugin\nVersion: 1.0\n")
    (tmp_path / "plugin-1.0.dist-info/entry_points.txt").write_text("[nlbench.metrics]\nlast_accuracy = plugin:LAST\n")
    make_record(tmp_path / "r.parquet", {0: matrix(0.5, 0.75), 1: matrix(0.5, 0.75)})
    code = (
        "from nlbench import api; "
        "print([metric.name for metric in api.listing('metrics').metrics][-1], "
        "api.load('r.parquet')[0].metric('last_accuracy'), "
        "api.compare(['r.parquet'], metrics=['last_accuracy']).groups[0].metrics)"
    )
    path = os.pathsep.join([str(tmp_path), str(Path(metrics.__file__).parents[1])])
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.stdout.strip() == "last_accuracy {0: 0.75, 1: 0.75} ('last_accuracy',)", done.stderr


def test_where_tasks_contradict_each_other_metrics_of_the_past_are_null_with_that_reason() -> None:
    R = np.full((4, 3), 0.5)
    usual, contradicting = compute(R), compute(R, conflict=True)
    assert {name for name, value in contradicting.items() if usual[name].value != value.value} == {
        name for name in metrics.OF_THE_PAST if name in usual and usual[name].value is not None
    }
    assert contradicting["learning_accuracy"].value == 0.5
    assert contradicting["forgetting"].reason.startswith("tasks contradict each other")
    assert metrics.measure(METRICS["gap_closed"], (R, R, R), conflict=True).reason.startswith("tasks contradict each other")
    measured = {"learning_accuracy", "prequential_accuracy"}
    assert metrics.with_stand_in(("average_accuracy", "forgetting"), measured.__contains__) == (
        "prequential_accuracy",
        "forgetting",
    )


def test_recovery_means_nothing_where_tasks_ask_for_other_labels(tmp_path: Path) -> None:
    contradicting = nlbench.run("mlp", "relabelled-digits", seeds=1, results=tmp_path, device="cpu").record
    assert 0 < contradicting.metric("recovery_time")[0] < 1
    assert contradicting.metric("prequential_accuracy")[0] > 0.5
    assert contradicting.metric("forgetting")[0] is None
    split = nlbench.run("mlp", "split-digits", seeds=1, results=tmp_path, device="cpu").record
    assert split.metric("recovery_time")[0] is None
    assert split.reason("recovery_time").startswith("tasks ask for other labels")
    assert contradicting.footer.metric_versions["recovery_time"] == 1
