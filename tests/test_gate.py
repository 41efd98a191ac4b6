from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from synthetic_records import make_record, matrix, windowed

from nlbench import gate
from nlbench.comparison.statistics import Interval
from nlbench.errors import RecordError
from nlbench.records import Record, Row, read_record
from nlbench.records.schema import SCHEMA, SCHEMA_VERSION

MARGINS = {"average_accuracy": 0.02, "forgetting": 0.02, "min_seeds": 5}
CLEAN = {"environment": {"commit": "0123abcd", "dirty": False}}
OLD = [0.80, 0.81, 0.79, 0.80, 0.805]  # accuracy of old tasks at the end, by seed


def record(path: Path, final: list[float], *, learned: float = 0.95, first_seed: int = 0, **facts: Any) -> Record:
    """A record of `hope` in which seed first_seed + s ends at final[s] on its old tasks."""
    matrices = {first_seed + s: matrix(value, learned) for s, value in enumerate(final)}
    facts = {"model": "hope", "fingerprint": "of-hope", "check": MARGINS, **CLEAN, **facts}
    return make_record(path, matrices, **facts)


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    """A folder that holds the reference."""
    record(tmp_path / "reference" / "hope.parquet", OLD)
    return tmp_path / "reference"


def verdicts(judgement: gate.Judgement) -> dict[str | None, str]:
    return {finding.metric: finding.verdict for finding in judgement.findings}


def shifted(amount: float, wiggle: float = 0.001) -> list[float]:
    return [value + amount + wiggle * (-1) ** seed for seed, value in enumerate(OLD)]


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


def test_missing_reference(tmp_path: Path, reference: Path) -> None:
    new = record(tmp_path / "new.parquet", OLD, model="cms")
    for against in (reference, tmp_path / "absent", tmp_path / "absent.parquet"):
        judgement = gate.check(new, against=against)
        assert verdicts(judgement) == {None: "missing"}
        assert judgement.exit_status == 2
        assert "--update" in judgement.findings[0].reason


def test_missing_metric(tmp_path: Path, reference: Path) -> None:
    hidden = {s: np.ma.array(matrix(value, 0.95), mask=False) for s, value in enumerate(OLD)}
    hidden[2][3, 1] = np.ma.masked
    new = make_record(tmp_path / "new.parquet", hidden, model="hope")
    judgement = gate.check(new, against=reference)
    assert verdicts(judgement) == {"average_accuracy": "ok", "forgetting": "missing"}
    assert judgement.exit_status == 2


def test_missing_margins(tmp_path: Path) -> None:
    for table in ({}, {"min_seeds": 5}):
        record(tmp_path / "reference" / "hope.parquet", OLD, check=table)
        judgement = gate.check(record(tmp_path / "new.parquet", OLD), against=tmp_path / "reference")
        assert verdicts(judgement) == {None: "missing"}
        assert judgement.exit_status == 2


@pytest.mark.parametrize(
    "table", [{"forgeting": 0.1}, {"forgetting": -1}, {"forgetting": 0}, {"forgetting": 0.1, "min_seeds": 1}]
)
def test_a_wrong_table_of_margins_is_an_error(tmp_path: Path, table: dict[str, float]) -> None:
    record(tmp_path / "reference" / "hope.parquet", OLD, check=table)
    with pytest.raises(RecordError, match="table is wrong"):
        gate.check(record(tmp_path / "new.parquet", OLD), against=tmp_path / "reference")


@pytest.mark.parametrize(
    ("facts", "named"),
    [
        ({"stream_digest": "another"}, "stream_digest: another / digest-of-stream"),
        (
            {"stream_digest": "another", "stream_spec": {"stream": {"kind": "permuted"}}},
            "stream_spec.stream.kind: permuted / split",
        ),
        ({"data": {"digits": "changed"}}, "data.digits: changed / sha256-of-digits"),
        ({"protocol_version": 2}, "protocol_version: 2 / 1"),
    ],
)
def test_mismatched(tmp_path: Path, reference: Path, facts: dict[str, Any], named: str) -> None:
    judgement = gate.check(record(tmp_path / "new.parquet", OLD, **facts), against=reference)
    assert verdicts(judgement) == {None: "mismatched"}
    assert named in judgement.findings[0].reason
    assert judgement.exit_status == 2


TERMS = {"passes": 1, "batch": 16, "boundaries": False}


@pytest.mark.parametrize(
    ("changed", "named"),
    [({"passes": 4}, "terms.passes: 4 / 1"), ({"boundaries": True}, "terms.boundaries: True / False")],
)
def test_other_passes_or_boundaries_are_mismatched(tmp_path: Path, changed: dict[str, Any], named: str) -> None:
    record(tmp_path / "reference" / "hope.parquet", OLD, terms=TERMS)
    judgement = gate.check(record(tmp_path / "new.parquet", OLD, terms={**TERMS, **changed}), against=tmp_path / "reference")
    assert verdicts(judgement) == {None: "mismatched"}
    assert named in judgement.findings[0].reason
    record(tmp_path / "reference" / "other.parquet", OLD, terms={**TERMS, **changed}, fingerprint="other", run="r2")
    judgement = gate.check(tmp_path / "new.parquet", against=tmp_path / "reference")
    assert verdicts(judgement) == {"average_accuracy": "ok", "forgetting": "ok"}
    assert str(judgement.reference).endswith("other.parquet")


def test_another_batch_is_printed_and_judged(tmp_path: Path) -> None:
    record(tmp_path / "reference" / "hope.parquet", OLD, terms=TERMS)
    judgement = gate.check(record(tmp_path / "new.parquet", OLD, terms={**TERMS, "batch": 4}), against=tmp_path / "reference")
    assert verdicts(judgement) == {"average_accuracy": "ok", "forgetting": "ok"}
    assert "terms.batch: 4 / 16" in map(str, judgement.changed)
    record(tmp_path / "reference" / "small.parquet", OLD, terms={**TERMS, "batch": 4}, fingerprint="small", run="r2")
    judgement = gate.check(tmp_path / "new.parquet", against=tmp_path / "reference")
    assert str(judgement.reference).endswith("small.parquet")


def test_a_reference_of_an_older_protocol_is_mismatched_with_the_way_out(tmp_path: Path) -> None:
    record(tmp_path / "reference" / "hope.parquet", OLD, protocol_version=1)
    judgement = gate.check(record(tmp_path / "new.parquet", OLD, protocol_version=2), against=tmp_path / "reference")
    assert verdicts(judgement) == {None: "mismatched"}
    assert judgement.findings[0].reason.endswith(f"Make the reference anew: nlbench check {tmp_path / 'new.parquet'} --update")


def test_what_was_measured_at_another_pace_is_mismatched(tmp_path: Path) -> None:
    def made(path: Path, every: int) -> Record:
        extra = [
            Row(seed, after, on, after * 100 + at, "accuracy_within", 0.9, 50)
            for seed in range(5)
            for after in range(5)
            for on in range(1, after + 2)
            for at in range(0, 100, every)
        ]
        matrices = {seed: matrix(value, 0.95) for seed, value in enumerate(OLD)}
        facts = {"evaluation": {"evaluate": "full", "evaluate_every": every}, "check": {"min_accuracy": 0.1, "forgetting": 0.1}}
        return make_record(path, matrices, extra=extra, model="hope", fingerprint=f"of-{every}", **facts)

    made(tmp_path / "reference" / "hope.parquet", 50)
    judgement = gate.check(made(tmp_path / "new.parquet", 25), against=tmp_path / "reference")
    assert verdicts(judgement) == {"min_accuracy": "mismatched", "forgetting": "ok"}
    assert "min_accuracy is measured every 25 / 50 samples" in gate.to_text(judgement)
    assert set(verdicts(gate.check(made(tmp_path / "same.parquet", 50), against=tmp_path / "reference")).values()) == {"ok"}


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("side", ["record", "reference"])
def test_not_finite(tmp_path: Path, reference: Path, side: str, bad: float) -> None:
    new = record(tmp_path / "new.parquet", OLD).path
    path = new if side == "record" else reference / "hope.parquet"
    file = pq.ParquetFile(path)
    rows = file.read().to_pylist()
    next(row for row in rows if row["metric"] == "accuracy")["value"] = bad
    with pq.ParquetWriter(path, SCHEMA, store_schema=False) as writer:
        writer.write_table(pa.Table.from_pylist(rows, schema=SCHEMA))
        writer.add_key_value_metadata({"nlbench": file.metadata.metadata[b"nlbench"].decode()})
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


def test_margins_come_from_the_reference(tmp_path: Path, reference: Path) -> None:
    generous = record(tmp_path / "new.parquet", shifted(-0.05), check={"forgetting": 0.5, "min_seeds": 2})
    judgement = gate.check(generous, against=reference)
    assert judgement.findings[1].margin == 0.02
    assert judgement.exit_status == 1


def test_a_changed_recipe_is_judged_and_named(tmp_path: Path, reference: Path) -> None:
    changed = {"learner_spec": {"learner": {"kind": "mlp", "width": 512}}, "fingerprint": "new", "backend": "numba"}
    judgement = gate.check(record(tmp_path / "new.parquet", shifted(-0.05), **changed), against=reference)
    assert judgement.exit_status == 1
    assert [str(change) for change in judgement.changed] == [
        "backend: numba / reference",
        "learner_spec.learner.width: 512 / 256",
    ]


def test_two_references_are_an_error(tmp_path: Path, reference: Path) -> None:
    record(reference / "second.parquet", OLD, fingerprint="another")
    with pytest.raises(RecordError, match="two references of hope"):
        gate.check(record(tmp_path / "new.parquet", OLD), against=reference)


def test_a_file_can_be_the_reference(tmp_path: Path, reference: Path) -> None:
    assert gate.check(record(tmp_path / "new.parquet", OLD), against=reference / "hope.parquet").exit_status == 0


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


def test_statuses_of_several() -> None:
    def of(*verdicts_: gate.Verdict) -> gate.Judgement:
        return gate.Judgement("r", None, "m", "s", tuple(gate.Finding("forgetting", v, "") for v in verdicts_), (), None, None)

    assert of().exit_status == 2
    assert gate.exit_status([]) == 2
    assert of("worse", "undecided").exit_status == 1
    for verdict in ("undecided", "too-few-seeds", "missing", "mismatched", "not-finite", "at-chance"):
        assert of("ok", verdict).exit_status == 2  # type: ignore[arg-type]
    assert gate.exit_status([of("ok"), of("undecided"), of("worse")]) == 1
    assert gate.exit_status([of("ok"), of("undecided")]) == 2
    assert gate.exit_status([of("ok"), of("better")]) == 0


def test_what_is_not_a_record_is_one_line_and_never_a_verdict(tmp_path: Path, reference: Path) -> None:
    good = record(tmp_path / "good.parquet", OLD).path
    (tmp_path / "cut.parquet").write_bytes(good.read_bytes()[:-50])
    pq.write_table(pa.table({"a": [1.0]}), tmp_path / "foreign.parquet")
    file = pq.ParquetFile(good)
    with pq.ParquetWriter(tmp_path / "future.parquet", SCHEMA, store_schema=False) as writer:
        writer.write_table(file.read())
        footer = {**json.loads(file.metadata.metadata[b"nlbench"]), "schema_version": SCHEMA_VERSION + 1}
        writer.add_key_value_metadata({"nlbench": json.dumps(footer)})
    for name in ("cut.parquet", "foreign.parquet", "future.parquet", "absent.parquet", "reference", "*.nothing"):
        with pytest.raises(RecordError) as caught:
            gate.check(tmp_path / name, against=reference)
        assert "\n" not in str(caught.value)
    (reference / "hope.parquet").write_bytes(b"PAR1")
    with pytest.raises(RecordError, match="no record found"):
        gate.check(good, against=reference)


def test_a_damaged_reference_beside_others_is_not_silently_missing(tmp_path: Path, reference: Path) -> None:
    record(reference / "cms.parquet", OLD, model="cms", fingerprint="cms")
    (reference / "hope.parquet").write_bytes(b"PAR1")
    judgement = gate.check(record(tmp_path / "new.parquet", OLD), against=reference)
    assert verdicts(judgement) == {None: "missing"}
    assert "hope.parquet is not a Parquet file" in judgement.findings[0].reason


def test_reports(tmp_path: Path, reference: Path) -> None:
    bad = gate.check(record(tmp_path / "new.parquet", shifted(-0.05), backend="numba"), against=reference)
    good = gate.check(record(tmp_path / "same.parquet", OLD), against=reference)
    root = ElementTree.fromstring(gate.to_junit([bad, good]).partition("\n")[2])
    assert [(suite.get("tests"), suite.get("failures"), suite.get("errors")) for suite in root] == [
        ("2", "2", "0"),
        ("2", "0", "0"),
    ]
    assert root[0][1].get("name") == "forgetting"
    assert root[0][1][0].get("type") == "worse"
    text = gate.to_markdown([bad, good])
    assert "### hope on split-digits: worse than the reference" in text
    assert "| forgetting | worse | 0.1988 | 0.1490 | +0.0498 | +0.0488 … +0.0508 | 0.02 | 5 pairs |" in text
    assert "learning accuracy 0.950, chance 0.500" in text
    assert "- `backend`: numba / reference" in text
    lines = gate.to_annotations([bad, good])
    assert len(lines) == 2
    assert lines[1].startswith("::error title=hope on split-digits%3A worse::forgetting: degradation +0.0498, at least +0.0488")
    plain = json.loads(gate.to_json([bad, good]))
    assert plain["exit_status"] == 1
    assert plain["judgements"][0]["findings"][1]["verdict"] == "worse"
    assert "worse  forgetting: degradation" in gate.to_text(bad)


def test_annotations_cannot_be_broken_by_a_name() -> None:
    finding = gate.Finding(None, "missing", "100 %\nsure::error::")
    (line,) = gate.to_annotations([gate.Judgement("r", None, "a,b:c", "s", (finding,), (), None, None)])
    assert line == "::error title=a%2Cb%3Ac on s%3A missing::record: 100 %25%0Asure::error::"


def test_update_writes_a_first_reference(tmp_path: Path) -> None:
    new = record(tmp_path / "new.parquet", OLD)
    done = gate.update(new.path, against=tmp_path / "reference")
    assert done.written
    assert read_record(done.reference).footer.check.facts() == MARGINS
    assert gate.check(new, against=tmp_path / "reference").exit_status == 0


def test_update_keeps_the_best_not_the_last(tmp_path: Path, reference: Path) -> None:
    """Each of these passes the gate against the last one; together they would lose .05."""
    for step in range(1, 6):
        path = record(tmp_path / f"{step}.parquet", [value - 0.01 * step for value in OLD], fingerprint=f"f{step}").path
        if step == 1:
            assert gate.check(path, against=reference).exit_status == 0
        done = gate.update(path, against=reference)
        assert not done.written
        assert "better on average_accuracy" in done.reason
    assert gate.check(path, against=reference).exit_status == 1
    gained = record(tmp_path / "gained.parquet", [value + 0.01 for value in OLD], fingerprint="gained").path
    assert gate.update(gained, against=reference).written
    assert [file.name for file in reference.iterdir()] == ["gained.parquet"]
    assert not gate.update(gained, against=reference).written


def test_update_takes_over_margins_where_the_numbers_are_as_good(tmp_path: Path, reference: Path) -> None:
    tighter = {"average_accuracy": 0.01, "forgetting": 0.01, "min_seeds": 5}
    done = gate.update(record(tmp_path / "new.parquet", OLD, check=tighter).path, against=reference)
    assert done.written
    assert "forgetting: 0.02" in done.reason
    (path,) = reference.iterdir()
    assert read_record(path).footer.check.facts() == tighter


@pytest.mark.parametrize(
    ("final", "facts", "message"),
    [
        (OLD, {"environment": {"commit": "0123", "dirty": True}}, "clean tree"),
        (OLD, {"environment": {"commit": None, "dirty": None}}, "clean tree"),
        (OLD[:4], {}, "4 seeds"),
        (OLD, {"check": {}}, "no margins"),
        (OLD, {"learned": 0.5}, "chance"),
        (OLD, {"check": {"min_accuracy": 0.1}}, "min_accuracy is null"),
    ],
)
def test_update_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, final: list[float], facts: dict[str, Any], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = record(tmp_path / "new.parquet", final, **facts).path
    with pytest.raises(RecordError, match=message):
        gate.update(path, against=tmp_path / "reference")
    assert not (tmp_path / "reference").exists()


@pytest.mark.parametrize(
    ("state", "clean"),
    [
        ({"commit": None, "dirty": None, "project": {"commit": "0123", "dirty": False}}, True),
        ({"commit": None, "dirty": None, "project": {"commit": "0123", "dirty": True}}, False),
        ({"commit": "0123", "dirty": False, "project": {"commit": "4567", "dirty": True}}, False),
        ({"commit": "0123", "dirty": True, "project": {"commit": "4567", "dirty": False}}, False),
        ({"commit": "0123", "dirty": False, "project": {"commit": None, "dirty": None}}, True),
    ],
)
def test_update_asks_for_the_tree_in_which_the_run_was_made(tmp_path: Path, state: dict[str, Any], clean: bool) -> None:
    path = record(tmp_path / "new.parquet", OLD, environment=state).path
    if clean:
        assert gate.update(path, against=tmp_path / "reference").written
    else:
        with pytest.raises(RecordError, match="clean tree"):
            gate.update(path, against=tmp_path / "reference")


def test_seeds_that_the_reference_lacks_count(tmp_path: Path, reference: Path) -> None:
    """The common seeds are as good as ever; the others collapse."""
    collapsed = record(tmp_path / "new.parquet", [*OLD, 0.1, 0.12, 0.1, 0.11], fingerprint="new")
    judgement = gate.check(collapsed, against=reference)
    assert judgement.exit_status == 1
    assert verdicts(judgement)["forgetting"] == "worse"
    assert not gate.update(collapsed.path, against=reference).written
    more = record(tmp_path / "more.parquet", [*OLD, 0.79, 0.81, 0.80, 0.80], fingerprint="more")
    assert gate.check(more, against=reference).exit_status == 0


def test_update_is_not_fooled_by_the_few_seeds_in_common(tmp_path: Path, reference: Path) -> None:
    worse = record(tmp_path / "new.parquet", [0.9, 0.1, 0.1, 0.1, 0.1], first_seed=4, fingerprint="new")
    assert gate.check(worse, against=reference).exit_status == 1
    done = gate.update(worse.path, against=reference)
    assert not done.written
    assert "better on average_accuracy" in done.reason


def test_a_record_is_not_judged_against_itself(tmp_path: Path, reference: Path) -> None:
    judgement = gate.check(reference / "hope.parquet", against=reference)
    assert verdicts(judgement) == {None: "missing"}
    assert judgement.exit_status == 2
    assert "itself" in judgement.findings[0].reason


def test_margins_within_tasks_can_be_gated(tmp_path: Path) -> None:
    def make(path: Path, low: float) -> Record:
        extra = [Row(s, 1, 1, 50, "accuracy_within", low, 50) for s in range(5)]
        extra += [Row(s, j, j + 1, 40 * j, "accuracy_within", 0.5, 50) for s in range(5) for j in range(2)]
        matrices = {s: matrix(0.8, 0.95, n_tasks=2) for s in range(5)}
        return make_record(path, matrices, model="hope", extra=extra, check={"min_accuracy": 0.1})

    make(tmp_path / "reference" / "r.parquet", 0.6)
    assert gate.check(make(tmp_path / "a.parquet", 0.55), against=tmp_path / "reference").exit_status == 0
    assert gate.check(make(tmp_path / "b.parquet", 0.3), against=tmp_path / "reference").exit_status == 1
