"""Each verdict of the gate, and what never passes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from gated_records import CLEAN, OLD, record, shifted, verdicts
from synthetic_records import forge, make_record, matrix, windowed

from nlbench import gate
from nlbench.comparison.statistics import Interval
from nlbench.errors import RecordError
from nlbench.records import Record, Row
from nlbench.records.schema import SCHEMA, SCHEMA_VERSION


@pytest.mark.parametrize(
    ("final", "verdict", "status"),
    [
        (OLD, "ok", 0),  # the same numbers: nothing varies, decided by the value
        (shifted(-0.01), "ok", 0),
        (shifted(+0.01), "better", 0),
        (shifted(-0.05), "worse", 1),
        (shifted(-0.02, 0.01), "undecided", 2),
        ([value - 0.03 for value in OLD], "worse", 1),  # constant, above the margin
        ([value - 0.02 for value in OLD], "ok", 0),  # constant, at the margin
        ([value + 0.001 for value in OLD], "better", 0),
    ],
)
def test_verdicts_on_a_metric(tmp_path: Path, reference: Path, final: list[float], verdict: str, status: int) -> None:
    judgement = gate.check(record(tmp_path / "new.parquet", final).path, against=reference)
    assert verdicts(judgement)["forgetting"] == verdict
    assert judgement.exit_status == status
    assert judgement.exit_status == gate.exit_status([judgement])


def test_a_seed_that_diverged_fails_however_good_the_others_are(tmp_path: Path, reference: Path) -> None:
    diverged = [{"seed": 9, "why": "task 1, step 3: the loss is nan"}]
    found = gate.check(record(tmp_path / "new.parquet", shifted(+0.01), diverged=diverged), against=reference)
    assert (verdicts(found)[None], found.exit_status) == ("not-finite", 2)
    assert "seed 9 diverged and is not in the record: task 1, step 3" in found.findings[-1].reason


def test_too_few_seeds(tmp_path: Path, reference: Path) -> None:
    for seeds in (1, 4):
        judgement = gate.check(record(tmp_path / "new.parquet", OLD[:seeds]), against=reference)
        assert set(verdicts(judgement).values()) == {"too-few-seeds"}
        assert judgement.exit_status == 2
    assert f"the record has {seeds} seeds, the reference asks for 5." in gate.to_text(judgement)


def test_a_reference_with_too_few_seeds_is_none(tmp_path: Path) -> None:
    record(tmp_path / "reference" / "r.parquet", OLD[:3])
    judgement = gate.check(record(tmp_path / "new.parquet", OLD), against=tmp_path / "reference")
    assert set(verdicts(judgement).values()) == {"too-few-seeds"}


@pytest.mark.parametrize(("table", "asked"), [({}, 10), ({"min_seeds": 4}, 4)])
def test_as_many_seeds_as_the_reference_has_are_asked_for_unless_it_says_less(
    tmp_path: Path, table: dict[str, float], asked: int
) -> None:
    margins = {"average_accuracy": 0.02, **table}
    record(tmp_path / "reference" / "r.parquet", [*OLD, *OLD], check=margins)
    for count in (asked - 1, asked):
        new = record(tmp_path / "new.parquet", [*OLD, *OLD][:count], check={"average_accuracy": 0.5, "min_seeds": 2})
        found = gate.check(new, against=tmp_path / "reference")
        assert verdicts(found) == {"average_accuracy": "ok" if count == asked else "too-few-seeds"}


def test_missing_metric(tmp_path: Path, reference: Path) -> None:
    hidden = {s: np.ma.array(matrix(value, 0.95), mask=False) for s, value in enumerate(OLD)}
    hidden[2][3, 1] = np.ma.masked
    new = make_record(tmp_path / "new.parquet", hidden, model="hope")
    judgement = gate.check(new, against=reference)
    assert verdicts(judgement) == {"average_accuracy": "ok", "forgetting": "missing"}
    assert judgement.exit_status == 2


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("side", ["record", "reference"])
def test_not_finite(tmp_path: Path, reference: Path, side: str, bad: float) -> None:
    new = record(tmp_path / "new.parquet", OLD).path
    path = new if side == "record" else reference / "hope.parquet"
    file = pq.ParquetFile(path)
    rows = file.read().to_pylist()
    next(row for row in rows if row["metric"] == "accuracy")["value"] = bad
    forge(path, [pa.Table.from_pylist(rows, schema=SCHEMA)], file.metadata.metadata[b"nlbench"])
    judgement = gate.check(new, against=reference)
    assert verdicts(judgement) == {None: "not-finite"}
    assert path.name in judgement.findings[0].reason
    assert judgement.exit_status == 2


def test_at_chance(tmp_path: Path, reference: Path) -> None:
    """A constant prediction forgets nothing; the gate must not call that better."""
    constant = make_record(tmp_path / "new.parquet", {s: np.full((6, 5), 0.5) for s in range(5)}, model="hope", chance=0.5)
    assert constant.metric("forgetting") == dict.fromkeys(range(5), 0.0)
    judgement = gate.check(constant, against=reference)
    assert verdicts(judgement) == {"average_accuracy": "worse", "forgetting": "at-chance"}
    assert judgement.exit_status == 1


@pytest.mark.parametrize(
    ("final", "learned", "verdict", "status"),
    [
        (shifted(-0.01), 0.95, "ok", 0),
        (shifted(-0.05), 0.95, "worse", 1),
        (shifted(+0.01), 0.95, "better", 0),
        ([0.1] * 5, 0.1, "at-chance", 1),  # nothing learned, nothing forgotten; its accuracy is worse
    ],
)
def test_a_window_of_one_task_is_held_by_forgetting_first(
    tmp_path: Path, final: list[float], learned: float, verdict: str, status: int
) -> None:
    margins = {"average_accuracy": 0.02, "forgetting_first": 0.02, "min_seeds": 5}

    def online(path: Path, final: list[float], learned: float) -> Record:
        matrices = {s: windowed(matrix(value, learned)) for s, value in enumerate(final)}
        return make_record(path, matrices, model="hope", check=margins, chance=0.1, **CLEAN)

    update = gate.update(online(tmp_path / "old.parquet", OLD, 0.95).path, against=tmp_path / "reference")
    assert update.written
    judgement = gate.check(online(tmp_path / "new.parquet", final, learned), against=tmp_path / "reference")
    assert verdicts(judgement)["forgetting_first"] == verdict
    assert judgement.exit_status == status


@pytest.mark.parametrize("metrics", [{"forgetting": 0.02}, {"forgetting_first": 0.02}, {"average_accuracy": 0.02}])
def test_at_chance_never_passes_whatever_the_reference(tmp_path: Path, metrics: dict[str, float]) -> None:
    facts: dict[str, Any] = {"model": "hope", "chance": 0.5, "check": metrics}
    matrices = {s: np.full((6, 5), 0.5) for s in range(5)}
    make_record(tmp_path / "reference" / "r.parquet", matrices, **facts)
    judgement = gate.check(make_record(tmp_path / "new.parquet", matrices, **facts), against=tmp_path / "reference")
    assert "at-chance" in verdicts(judgement).values()
    assert judgement.exit_status == 2


def test_what_is_not_shown_above_chance_is_not_called_at_chance_and_does_not_pass(tmp_path: Path, reference: Path) -> None:
    matrices = {s: matrix(value, 0.5 + 0.02 * (s - 1)) for s, value in enumerate([0.5] * 5)}
    new = make_record(tmp_path / "new.parquet", matrices, model="hope", chance=0.5)
    judgement = gate.check(new, against=reference)
    assert verdicts(judgement)["forgetting"] == "not-above-chance"
    assert judgement.exit_status != 0
    make_record(
        tmp_path / "alike" / "r.parquet", matrices, model="hope", chance=0.5, check={"average_accuracy": 0.02, "min_seeds": 5}
    )
    judgement = gate.check(new, against=tmp_path / "alike")
    assert verdicts(judgement) == {"average_accuracy": "ok", None: "not-above-chance"}
    assert judgement.exit_status == 2
    with pytest.raises(RecordError, match="not shown above chance"):
        gate.update(tmp_path / "alike" / "r.parquet", against=tmp_path / "mine")


def test_unknown_chance_never_passes(tmp_path: Path, reference: Path) -> None:
    matrices = {s: matrix(value, 0.95) for s, value in enumerate(OLD)}
    new = make_record(tmp_path / "new.parquet", matrices, model="hope", chance=None)
    judgement = gate.check(new, against=reference)
    assert verdicts(judgement)["forgetting"] == "missing"
    assert judgement.exit_status == 2


def test_seeds_in_common_are_paired(tmp_path: Path) -> None:
    """Seeds spread over .3, the learner loses .05 on each: only pairing sees it. Other seeds: Welch's interval cannot."""
    wide = list(np.linspace(0.5, 0.8, 10))
    record(tmp_path / "reference" / "r.parquet", wide)
    lost = [value - 0.05 + 0.002 * (-1) ** s for s, value in enumerate(wide)]
    paired = gate.check(record(tmp_path / "a.parquet", lost), against=tmp_path / "reference").findings[1]
    assert (paired.verdict, paired.paired, paired.seeds) == ("worse", True, 10)
    assert paired.degradation == pytest.approx(0.05)
    apart = gate.check(record(tmp_path / "b.parquet", lost, first_seed=100), against=tmp_path / "reference").findings[1]
    assert (apart.verdict, apart.paired) == ("undecided", False)
    assert apart.degradation == pytest.approx(0.05)
    few = gate.check(record(tmp_path / "c.parquet", lost, first_seed=6), against=tmp_path / "reference").findings[1]
    assert few.paired is False  # 4 seeds in common, 5 asked for


def test_a_changed_recipe_is_judged_and_named(tmp_path: Path, reference: Path) -> None:
    changed = {"learner_spec": {"learner": {"kind": "mlp", "width": 512}}, "backend": "numba"}
    judgement = gate.check(record(tmp_path / "new.parquet", shifted(-0.05), **changed), against=reference)
    assert judgement.exit_status == 1
    assert [str(change) for change in judgement.changed] == [
        "backend: numba / reference",
        "learner_spec.learner.width: 512 / 256",
    ]


def test_undecided_says_how_many_seeds_would_decide(tmp_path: Path, reference: Path) -> None:
    finding = gate.check(record(tmp_path / "new.parquet", shifted(-0.01, 0.02)), against=reference).findings[1]
    assert finding.verdict == "undecided"
    assert finding.seeds_to_decide is not None
    assert finding.seeds_to_decide > 5
    same = [-0.01 + 0.02 * (-1) ** s for s in range(5)]
    n, sd = finding.seeds_to_decide, np.std(same, ddof=1)
    from scipy import stats

    assert (
        stats.t.ppf(0.95, n - 1) * sd / n**0.5 < abs(0.02 - finding.degradation) <= stats.t.ppf(0.95, n - 2) * sd / (n - 1) ** 0.5
    )


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", range(3))
def test_nan_and_infinity_never_pass(place: int, bad: float) -> None:
    bounds = [-0.5, -0.6, -0.4]
    bounds[place] = bad
    for sd in (0.0, 0.1, np.nan):
        assert gate.judge(Interval(*bounds, sd, 5), 0.02) == "not-finite"


def test_what_is_not_a_record_is_one_line_and_never_a_verdict(tmp_path: Path, reference: Path) -> None:
    good = record(tmp_path / "good.parquet", OLD).path
    (tmp_path / "cut.parquet").write_bytes(good.read_bytes()[:-50])
    pq.write_table(pa.table({"a": [1.0]}), tmp_path / "foreign.parquet")
    file = pq.ParquetFile(good)
    footer = {**json.loads(file.metadata.metadata[b"nlbench"]), "schema_version": SCHEMA_VERSION + 1}
    forge(tmp_path / "future.parquet", [file.read()], json.dumps(footer))
    for name in ("cut.parquet", "foreign.parquet", "future.parquet", "absent.parquet", "reference", "*.nothing"):
        with pytest.raises(RecordError) as caught:
            gate.check(tmp_path / name, against=reference)
        assert "\n" not in str(caught.value)
    (reference / "hope.parquet").write_bytes(b"PAR1")
    with pytest.raises(RecordError, match="no record found"):
        gate.check(good, against=reference)


def test_seeds_that_the_reference_lacks_count(tmp_path: Path, reference: Path) -> None:
    """The common seeds are as good as ever; the others collapse."""
    collapsed = record(tmp_path / "new.parquet", [*OLD, 0.1, 0.12, 0.1, 0.11], fingerprint="new")
    judgement = gate.check(collapsed, against=reference)
    assert judgement.exit_status == 1
    assert verdicts(judgement)["forgetting"] == "worse"
    assert not gate.update(collapsed.path, against=reference).written
    more = record(tmp_path / "more.parquet", [*OLD, 0.79, 0.81, 0.80, 0.80], fingerprint="more")
    assert gate.check(more, against=reference).exit_status == 0


def test_margins_within_tasks_can_be_gated(tmp_path: Path) -> None:
    def make(path: Path, low: float) -> Record:
        extra = [Row(s, 1, 1, 50, "accuracy_within", low, 100) for s in range(5)]
        extra += [Row(s, j, j + 1, 40 * j, "accuracy_within", 0.5, 50) for s in range(5) for j in range(2)]
        matrices = {s: matrix(0.8, 0.95, n_tasks=2) for s in range(5)}
        return make_record(path, matrices, model="hope", extra=extra, check={"min_accuracy": 0.1})

    make(tmp_path / "reference" / "r.parquet", 0.6)
    assert gate.check(make(tmp_path / "a.parquet", 0.55), against=tmp_path / "reference").exit_status == 0
    assert gate.check(make(tmp_path / "b.parquet", 0.3), against=tmp_path / "reference").exit_status == 1
