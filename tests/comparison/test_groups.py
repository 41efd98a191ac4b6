"""Who stands beside whom, under which label, and what is tested."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compared_records import FIVE, TEN, entry, learner, spread
from synthetic_records import make_record, matrix, windowed

from nlbench.comparison import compare
from nlbench.comparison.tables import learner_table
from nlbench.errors import ComparisonError, UnknownNameError
from nlbench.records import Record, Row
from nlbench.specs import digest
from nlbench.specs.identity import stream_digest


def test_estimates_are_means_with_t_intervals(trio: list[Record]) -> None:
    found = entry(trio, "mlp").estimates["forgetting"]
    values = np.array(list(trio[0].metric("forgetting").values()))
    assert found.mean == pytest.approx(values.mean())
    assert found.high - found.mean == pytest.approx(
        2.2622 * values.std(ddof=1) / 10**0.5, rel=1e-4
    )  # t.975 with 9 degrees of freedom
    assert found.n == 10


def test_seeds_that_diverged_are_named(tmp_path: Path) -> None:
    lost = learner(tmp_path, "er", spread(0.5, 5), diverged=[{"seed": 7, "why": "task 1, step 3: the loss is nan"}])
    notes = compare([lost, learner(tmp_path, "mlp", spread(0.4, 5))]).groups[0].notes
    assert "diverged and left out, so that the mean is over seeds that did not: er 7." in notes


def test_pairs_are_made_on_common_seeds(tmp_path: Path) -> None:
    """Both learners share a large spread over seeds; their difference is constant, and only pairing can see it."""
    level = np.linspace(0.1, 0.8, 12)
    mlp = make_record(tmp_path / "a.parquet", {s: matrix(level[s], 0.95) for s in TEN}, model="mlp")
    more = {s: matrix(level[s] + 0.02 + 0.001 * (s % 2), 0.95) for s in range(2, 12)}
    cms = make_record(tmp_path / "b.parquet", more, model="cms", fingerprint="cms")
    found = entry([mlp, cms], "cms").paired["forgetting"]
    assert found.n == 8
    assert found.mean == pytest.approx(-0.0205)
    assert found.verdict == "better"
    assert found.high is not None
    assert found.high < -0.02
    assert entry([mlp, cms], "cms").paired["average_accuracy"].mean == pytest.approx(0.0205 * 4 / 5)


def test_holm_covers_every_learner_and_metric(trio: list[Record]) -> None:
    group = compare(trio).groups[0]
    assert group.baseline == "mlp"
    assert group.family == 4  # two learners beside the baseline, two metrics
    for one in group.entries[1:]:
        for paired in one.paired.values():
            assert paired.p == 2**-9
            assert paired.p_holm == pytest.approx(4 * 2**-9)
            assert paired.verdict == "better"
            assert paired.seeds_to_tell is None
    assert not group.entries[0].paired


def test_five_seeds_cannot_tell_and_say_how_many_would(tmp_path: Path) -> None:
    records = [learner(tmp_path, "mlp", spread(0.2, 5)), learner(tmp_path, "hope", [0.80, 0.81, 0.82, 0.83, 0.84])]
    found = entry(records, "hope").paired["average_accuracy"]
    assert found.p == 2**-4
    assert found.verdict == "too few seeds to tell"
    assert found.seeds_to_tell == 7  # 2^(1−7) · 2 tests = .031
    assert "too few seeds to tell (7 would)" in compare(records).to_markdown()


def test_undecided_is_not_too_few(tmp_path: Path) -> None:
    even = [0.5 + 0.01 * (-1) ** seed for seed in TEN]
    records = [learner(tmp_path, "mlp", [0.5] * 10), learner(tmp_path, "cms", even)]
    found = entry(records, "cms").paired["average_accuracy"]
    assert found.verdict == "undecided"
    assert found.mean == pytest.approx(0)
    assert found.seeds_to_tell is None


def test_worse_follows_the_direction_of_the_metric(trio: list[Record]) -> None:
    paired = entry(trio, "mlp", baseline="joint").paired
    assert paired["forgetting"].mean > 0 > paired["average_accuracy"].mean
    assert {found.verdict for found in paired.values()} == {"worse"}


def test_labels_name_the_fields_that_differ(tmp_path: Path) -> None:
    specs = [
        ("hope", {"learner": {"kind": "hope", "width": 256, "fast": {"rate": 0.1}, "slow": {"rate": 0.1}}}),
        ("hope", {"learner": {"kind": "hope", "width": 512, "fast": {"rate": 0.1}, "slow": {"rate": 0.1}}}),
        ("hope", {"learner": {"kind": "hope", "width": 512, "fast": {"rate": 0.2}, "slow": {"rate": 0.3}}}),
        ("mlp", {"learner": {"kind": "mlp", "width": 256}}),
    ]
    records = [learner(tmp_path / str(i), model, [0.5, 0.6], learner_spec=spec) for i, (model, spec) in enumerate(specs)]
    found = [e.label for e in compare(records).groups[0].entries]
    assert found == [
        "hope[fast.rate=0.1,slow.rate=0.1,width=256]",
        "hope[fast.rate=0.1,slow.rate=0.1,width=512]",
        "hope[fast.rate=0.2,slow.rate=0.3,width=512]",
        "mlp",
    ]
    assert [e.label for e in compare(records[:2]).groups[0].entries] == ["hope[width=256]", "hope[width=512]"]


def test_namesakes_of_other_code_or_precision_stay_apart(tmp_path: Path) -> None:
    records = [learner(tmp_path / code, "hope", [0.5, 0.6], code={"learner": code}) for code in ("aaaa1111bbbb", "cccc2222dddd")]
    assert [e.label for e in compare(records).groups[0].entries] == [
        "hope[learner=aaaa1111]",
        "hope[learner=cccc2222]",
    ]
    with pytest.raises(ComparisonError, match="several learners are called hope"):
        compare(records, baseline="hope")
    assert compare(records, baseline="hope[learner=cccc2222]").groups[0].baseline == "hope[learner=cccc2222]"


def test_namesakes_of_several_parts_of_other_code_are_told_apart_by_one_digest(tmp_path: Path) -> None:
    codes = [{"learner": part, "protocol": part, "source": "same"} for part in ("aaaa1111bbbb", "cccc2222dddd")]
    found = compare([learner(tmp_path / code["learner"], "hope", [0.5, 0.6], code=code) for code in codes]).groups[0]
    assert [entry.label for entry in found.entries] == [f"hope[code={digest(code)[:8]}]" for code in codes]


def test_streams_that_differ_are_never_averaged_and_the_fact_is_named(tmp_path: Path) -> None:
    stream = {"stream": {"kind": "split", "noise": 0.1}}
    other = {"stream": {"kind": "split", "noise": 0.2}}
    records = [
        learner(tmp_path, "mlp", [0.5, 0.6], stream_spec=stream),
        learner(tmp_path, "cms", [0.5, 0.6], stream_spec=other),
        learner(tmp_path, "hope", [0.5, 0.6], stream_spec=stream, data={"digits": "changed"}),
        learner(tmp_path, "joint", [0.5, 0.6], stream_spec=stream, protocol_version=3),
    ]
    found = compare(records)
    assert [len(group.entries) for group in found.groups] == [1, 1, 1, 1]
    assert found.mismatches == (
        "split-digits: mlp and cms cannot be compared: stream_spec.stream.noise: 0.1 / 0.2",
        "split-digits: mlp and hope cannot be compared: data.digits: sha256-of-digits / changed",
        "split-digits: mlp and joint cannot be compared: protocol_version: 2 / 3",
    )
    assert found.mismatches[0] in found.to_markdown()


def test_namesakes_on_streams_that_differ_are_told_apart_by_their_files(tmp_path: Path) -> None:
    records = [learner(tmp_path / where, "mlp", [0.5, 0.6], data={"digits": where}) for where in ("one", "two")]
    names = [record.path for record in records]
    (told,) = compare(records).mismatches
    assert told == f"split-digits: mlp ({names[0]}) and mlp ({names[1]}) cannot be compared: data.digits: one / two"


def test_unequal_terms_are_compared_and_marked(tmp_path: Path) -> None:
    one, four = ({"passes": passes, "batch": 16, "boundaries": False} for passes in (1, 4))
    records = [
        learner(tmp_path, "mlp", spread(0.5, 10), terms=one),
        learner(tmp_path / "longer", "mlp", spread(0.7, 10), terms=four),
        learner(tmp_path, "cms", spread(0.6, 10), terms=one),
    ]
    (group,) = compare(records).groups
    assert [e.label for e in group.entries] == ["mlp[passes=1]", "mlp[passes=4]", "cms"]
    assert "unequal terms: passes 1 and 4." in group.notes
    assert group.entries[1].paired["average_accuracy"].verdict == "better"
    table = learner_table(group)
    assert table.title.endswith("5 tasks · batch 16, boundaries not told")
    assert [row[table.header.index("terms")] for row in table.rows] == ["passes 1", "passes 4", "passes 1"]
    assert [e["terms"] for e in compare(records).to_dict()["groups"][0]["entries"]] == [one, four, one]
    alike = compare([records[0], records[2]]).groups[0]
    assert not [note for note in alike.notes if "terms" in note]
    assert learner_table(alike).title.endswith("5 tasks · passes 1, batch 16, boundaries not told")
    assert "terms" not in learner_table(alike).header


def test_a_gap_is_to_the_references_of_equal_terms_where_there_are_several(tmp_path: Path) -> None:
    terms = [{"passes": passes, "batch": 16, "boundaries": False} for passes in (1, 4)]
    naive = [learner(tmp_path, "mlp", spread(v, 5), terms=t, fingerprint=f"f{v}") for v, t in zip((0.2, 0.5), terms, strict=True)]
    joint = learner(tmp_path, "joint", spread(0.9, 5), terms={"passes": 9, "batch": 16, "boundaries": False})
    own = learner(tmp_path, "hope", spread(0.5, 5), terms=terms[1])
    assert entry([*naive, joint, own], "hope").estimates["gap_closed"].mean == pytest.approx(0.0)


def within_rows(seed: int, every: int) -> list[Row]:
    """Measurements within two tasks, `every` so many samples."""
    return [
        Row(seed, after, on, after * 100 + at, "accuracy_within", 0.9 if after < on else 0.6, 50)
        for after in range(2)
        for on in range(1, after + 2)
        for at in range(0, 100, every)
    ]


def test_what_depends_on_how_often_it_was_measured_is_compared_only_where_that_is_equal(tmp_path: Path) -> None:
    records = []
    for model, every in (("mlp", 50), ("cms", 50), ("hope", 25)):
        matrices = {seed: matrix(0.6 + seed / 100, 0.9, n_tasks=2) for seed in TEN}
        extra = [row for seed in TEN for row in within_rows(seed, every)]
        evaluation = {"evaluate": "full", "evaluate_every": every}
        path = tmp_path / f"{model}.parquet"
        records.append(make_record(path, matrices, extra=extra, model=model, fingerprint=model, evaluation=evaluation))
    (group,) = compare(records, metrics=["min_accuracy", "average_accuracy"]).groups
    assert [sorted(e.paired) for e in group.entries] == [[], ["average_accuracy", "min_accuracy"], ["average_accuracy"]]
    assert set(group.rankings["min_accuracy"].ranks) == {"mlp", "cms"}
    assert set(group.rankings["average_accuracy"].ranks) == {"mlp", "cms", "hope"}
    assert "min_accuracy of hope is not compared: measured every 50 / 25 samples (mlp / hope)." in group.notes
    assert group.entries[2].estimates["min_accuracy"].mean == pytest.approx(0.6)


def test_records_of_protocol_1_stand_by_what_their_stream_is(tmp_path: Path) -> None:
    """Presentation and measurement were part of their streams, and of the digests."""
    records = []
    for model, batch, passes in (("mlp", 16, 1), ("cms", 32, 4)):
        protocol = {"batch": 16, "passes": passes, "evaluate": "full", "boundaries": False, "output_space": None}
        spec = {"stream": {"kind": "split", "tasks": 5}, "protocol": protocol}
        learned = {"learner": {"kind": model}, "batch": batch}
        old = {"protocol_version": 1, "stream_spec": spec, "learner_spec": learned}
        records.append(learner(tmp_path, model, [0.5, 0.6], **old))
    (group,) = compare(records).groups
    assert "unequal terms: passes 1 and 4, batch 16 and 32." in group.notes
    assert (
        records[0].stream_digest
        == records[1].stream_digest
        == stream_digest({"stream": {"kind": "split", "tasks": 5}, "output_space": "all"}, {"digits": "sha256-of-digits"})
    )
    today = learner(tmp_path, "hope", [0.5, 0.6], stream_spec={"stream": {"kind": "split", "tasks": 5}, "output_space": "all"})
    assert today.stream_digest == records[0].stream_digest
    apart = compare([*records, today])
    assert [len(group.entries) for group in apart.groups] == [2, 1]
    assert "protocol_version: 1 / 2" in apart.mismatches[0]


def test_intransigence_and_gap_on_common_seeds(trio: list[Record], tmp_path: Path) -> None:
    hope = entry(trio, "hope")
    assert hope.estimates["intransigence"].mean == pytest.approx(
        0, abs=1e-12
    )  # all learn each task to .95; the joint's last row is lower
    low, high, own = (np.array(list(record.metric("average_accuracy").values())) for record in (trio[0], trio[2], trio[1]))
    assert hope.estimates["gap_closed"].mean == pytest.approx(((own - low) / (high - low)).mean())
    assert entry(trio, "mlp").estimates["gap_closed"].mean == 0
    alone = entry(trio[:2], "hope").estimates["gap_closed"]
    assert alone.mean is None
    assert alone.reason == "needs one record on this stream whose recipe says role = joint, there are 0"
    less = learner(tmp_path / "less", "joint", spread(0.94, 3, 0.002))
    assert entry([*trio[:2], less], "hope").estimates["gap_closed"].n == 3


def test_gain_is_over_the_recipe_whose_role_is_reset(trio: list[Record], tmp_path: Path) -> None:
    alone = entry(trio, "hope").estimates["gain"]
    assert (alone.mean, alone.reason) == (None, "needs one record on this stream whose recipe says role = reset, there are 0")
    twin = learner(tmp_path / "twin", "independent", spread(0.5, 10, 0.002), role="reset")
    own, of_twin = (np.array(list(record.metric("learning_accuracy").values())) for record in (trio[1], twin))
    assert entry([*trio, twin], "hope").estimates["gain"].mean == pytest.approx((own - of_twin).mean())
    assert entry([*trio, twin], "independent").estimates["gain"].mean == 0


def test_a_learner_that_beats_joint_training_is_marked(trio: list[Record], tmp_path: Path) -> None:
    assert not any("above 1" in note for note in compare(trio).groups[0].notes)  # joint itself is at 1
    weak = learner(tmp_path / "weak", "joint", spread(0.5, 10, 0.002))
    (note,) = [note for note in compare([*trio[:2], weak]).groups[0].notes if "gap_closed" in note]
    assert note.startswith("gap_closed is above 1 for hope: joint training as recorded is no upper bound for them.")
    untold = compare([*trio[:2], weak], metrics=["average_accuracy"]).groups[0].notes
    assert not any("above 1" in each for each in untold)


def test_references_are_told_by_their_roles_and_not_by_their_names(trio: list[Record], tmp_path: Path) -> None:
    hope, joint = trio[1:]
    renamed = [
        learner(tmp_path / "r", "plain", spread(0.2, 10), role="naive"),
        hope,
        learner(tmp_path / "r", "everything", spread(0.94, 10, 0.002), role="joint"),
    ]
    for name in ("intransigence", "gap_closed"):
        assert entry(renamed, "hope").estimates[name] == entry(trio, "hope").estimates[name]
    assert compare(renamed[::-1]).groups[0].baseline == "plain"
    old = [learner(tmp_path / "old", "mlp", spread(0.2, 10), role=None), hope, joint]
    gap = entry(old, "hope").estimates["gap_closed"]
    assert (gap.mean, gap.reason) == (None, "needs one record on this stream whose recipe says role = naive, there are 0")
    assert entry(old, "hope").estimates["intransigence"].mean is not None


def test_references_are_of_the_records_own_network_where_it_is_recorded(tmp_path: Path) -> None:
    def one(model: str, width: int, values: list[float], **facts: Any) -> Record:
        spec = {"learner": {"kind": model, "network": {"kind": "mlp", "hidden": [width]}}}
        return learner(tmp_path / f"{width}", model, values, learner_spec=spec, fingerprint=f"{model}{width}", **facts)

    records = [one("naive", width, spread(0.2 + width / 100, 5), role="naive") for width in (8, 16)]
    records += [one("joint", width, spread(0.9, 5), role="joint") for width in (8, 16)]
    ewc = one("ewc", 16, spread(0.36, 5))
    assert entry([*records, ewc], "ewc").estimates["gap_closed"].mean == pytest.approx(0.0)


def test_references_are_of_the_records_own_precision_where_there_are_several(trio: list[Record], tmp_path: Path) -> None:
    low = learner(tmp_path / "low", "mlp", spread(0.3, 5, 0.002), precision="bf16")
    alone, found = compare(trio), compare([low, *trio])
    assert found.groups[0].baseline == "mlp[precision=float32]"
    before, after = (next(e for e in each.groups[0].entries if e.label == "hope") for each in (alone, found))
    assert after.estimates["gap_closed"] == before.estimates["gap_closed"]
    own = next(e for e in found.groups[0].entries if e.label == "mlp[precision=bf16]").estimates["gap_closed"]
    assert own.mean == 0


def test_a_learner_at_chance_is_marked(tmp_path: Path) -> None:
    constant = make_record(
        tmp_path / "c.parquet", {s: np.full((6, 5), 0.5) for s in FIVE}, model="constant", fingerprint="constant", chance=0.5
    )
    barely = make_record(
        tmp_path / "b.parquet",
        {s: matrix(0.5, 0.5 + 0.02 * (s - 1)) for s in FIVE},
        model="barely",
        fingerprint="barely",
        chance=0.5,
    )
    mlp = learner(tmp_path, "mlp", spread(0.2, 5))
    found = compare([mlp, constant, barely])
    assert [e.learned for e in found.groups[0].entries] == ["above-chance", "at-chance", "not-above-chance"]
    assert found.groups[0].entries[1].estimates["forgetting"].mean == 0
    text = found.to_markdown()
    assert "0.000 ± 0.000 (at chance)" in text
    assert "constant is at chance: what was not learned cannot be forgotten." in text
    assert "(not shown above chance)" in text
    assert "barely is not shown above chance: its forgetting may mean nothing." in text
    single = make_record(tmp_path / "s.parquet", {0: matrix(0.5, 0.9)}, model="single", fingerprint="single")
    assert entry([mlp, single], "single").learned is None


@pytest.mark.parametrize("baseline", [None, "mlp", "random-features"])
def test_records_of_one_fingerprint_count_once_whatever_their_names(tmp_path: Path, baseline: str | None) -> None:
    mlp, hope, cms = (learner(tmp_path, name, spread(mean, 10)) for name, mean in (("mlp", 0.2), ("hope", 0.8), ("cms", 0.3)))
    twin = learner(tmp_path, "random-features", spread(0.8, 10), fingerprint="of-hope")
    alone = compare([mlp, hope, cms]).groups[0]
    found = compare([mlp, hope, twin, cms], baseline=baseline).groups[0]
    kept, other = ("random-features", "hope") if baseline == "random-features" else ("hope", "random-features")
    assert [e.label for e in found.entries] == ["mlp", kept, "cms"]
    assert found.family == alone.family == 4
    if baseline != "random-features":
        assert found.rankings == alone.rankings
        assert [e.paired for e in found.entries] == [e.paired for e in alone.entries]
    assert found.notes[0] == f"{other} on split-digits is the run of {kept} on split-digits, of one fingerprint: counted once."


def test_one_seed_has_no_spread_and_nothing_is_claimed_of_more(tmp_path: Path) -> None:
    records = [learner(tmp_path, "mlp", [0.2]), learner(tmp_path, "hope", [0.8])]
    found = entry(records, "hope").paired["average_accuracy"]
    assert (found.verdict, found.seeds_to_tell, found.low) == ("too few seeds to tell", None, None)
    text = compare(records).to_markdown()
    assert "too few seeds to tell (one seed has no spread)" in text
    assert "would" not in text


def test_an_interval_stays_within_what_an_accuracy_can_be_and_is_then_no_half_width(tmp_path: Path) -> None:
    R = {0: np.full((6, 5), 0.30), 1: np.full((6, 5), 0.50)}
    record = make_record(tmp_path / "r.parquet", R)
    found = entry([record], "mlp").estimates
    assert (found["average_accuracy"].low, found["average_accuracy"].high) == (0, 1)  # not −.871 … 1.671
    assert "| 0.400 (0.000 … 1.000) |" in compare([record]).to_markdown()
    near = learner(tmp_path, "hope", [0.99, 0.995, 1.0], learned=1.0)
    assert entry([near], "hope").estimates["average_accuracy"].high == 1
    pair = [learner(tmp_path, "cms", [0.0, 1.0]), learner(tmp_path, "joint", [1.0, 0.0])]
    paired = entry(pair, "joint", baseline="cms").paired["forgetting"]
    assert (paired.low, paired.high) == (-2, 2)


def test_pareto_fronts_of_bytes_and_seconds(trio: list[Record]) -> None:
    fronts = {e.label: e.on_front for e in compare(trio).groups[0].entries}
    assert fronts == {
        "mlp": {"bytes": False, "seconds": True},  # joint is as small and more accurate
        "hope": {"bytes": False, "seconds": True},
        "joint": {"bytes": True, "seconds": True},
    }
    assert entry(trio, "hope").seconds == pytest.approx(4.0)
    assert entry(trio, "hope").bytes == 3000


def test_ranks_with_critical_difference(trio: list[Record]) -> None:
    ranking = compare(trio).groups[0].rankings["forgetting"]
    assert ranking.ranks == {"mlp": 3, "hope": 2, "joint": 1}
    assert (ranking.blocks, ranking.of) == (10, "seeds")
    assert ranking.critical_difference == pytest.approx(2.3437 * (3 * 4 / 60) ** 0.5, rel=1e-3)
    assert ranking.p < 1e-3


def test_ranks_over_streams_use_learners_found_in_each(trio: list[Record], tmp_path: Path) -> None:
    other = [
        learner(tmp_path / "other", "mlp", spread(0.3, 5), stream="split-mnist", stream_digest="mnist"),
        learner(tmp_path / "other", "joint", spread(0.9, 5), stream="split-mnist", stream_digest="mnist"),
    ]
    overall = compare([*trio, *other]).overall["average_accuracy"]
    assert overall.ranks == {"mlp": 2, "joint": 1}
    assert (overall.blocks, overall.of) == (2, "streams")


@pytest.mark.parametrize("part", ["learner", "estimator", "network", "network.inner", "module", "protocol"])
def test_the_code_of_a_learner_s_own_parts_is_none_that_rivals_share(part: str, tmp_path: Path) -> None:
    mine = learner(tmp_path, "mine", [0.5, 0.6], code={"protocol": "0", "learner": "1"} | {part: "2"})
    notes = compare([learner(tmp_path, "mlp", [0.5, 0.6], code={"protocol": "0", "learner": "1"}), mine]).groups[0].notes
    assert any(note.startswith("code differs") for note in notes) == (part == "protocol")


def test_notes_name_what_differs_between_executions(tmp_path: Path) -> None:
    records = [learner(tmp_path, "mlp", [0.5, 0.6]), learner(tmp_path, "cms", [0.5, 0.6, 0.7], device="cuda")]
    notes = compare(records).groups[0].notes
    assert "device differs: mlp: cpu; cms: cuda." in notes
    assert "seeds differ (mlp: 2; cms: 3): pairs use common seeds." in notes
    others = [learner(tmp_path / str(first), f"from-{first}", [0.5, 0.6, 0.7], first=first) for first in (0, 2)]
    assert "seeds differ (from-0: 0, 1, 2; from-2: 2, 3, 4): pairs use common seeds." in compare(others).groups[0].notes


def test_metrics_within_tasks_count_too(tmp_path: Path) -> None:
    extra = [Row(s, 0, 1, 10 * b, "accuracy_within", 0.5 + 0.04 * b, 50) for b in range(11) for s in (0, 1)]
    one = make_record(tmp_path / "a.parquet", {s: np.array([[0.5], [0.9]]) for s in (0, 1)}, extra=extra)
    found = entry([one], "mlp", metrics=["learning_curve_area"])
    assert found.estimates["learning_curve_area"].mean == pytest.approx(0.7)


def test_chosen_metrics_and_what_stands_beside_them(trio: list[Record]) -> None:
    found = compare(trio, metrics=["forgetting_worst"])
    assert found.metrics == ("forgetting_worst",)
    assert found.groups[0].columns == ("forgetting_worst", "learning_accuracy")
    assert found.groups[0].family == 2
    with pytest.raises(UnknownNameError, match="forgetting"):
        compare(trio, metrics=["forgeting"])
    with pytest.raises(UnknownNameError, match="Did you mean hope"):
        compare(trio, baseline="hoppe")
    with pytest.raises(ComparisonError, match="no records"):
        compare([])


def test_one_record_is_shown_without_tests(trio: list[Record]) -> None:
    found = compare(trio[:1])
    assert found.groups[0].baseline is None or not found.groups[0].entries[0].paired
    assert "difference from" not in found.to_markdown()
    assert not found.groups[0].rankings


def test_forgetting_first_stands_in_where_a_stream_measures_no_more(trio: list[Record], tmp_path: Path) -> None:
    facts = {"stream": "online", "stream_digest": "digest-of-online", "chance": 0.1}
    matrices = {s: windowed(matrix(0.3 + 0.01 * s, 0.95)) for s in range(10)}
    online = [make_record(tmp_path / f"{m}.parquet", matrices, model=m, fingerprint=m, **facts) for m in ("mlp", "hope")]
    found = compare([*trio, *online])
    short, full = sorted(found.groups, key=lambda group: group.stream)
    assert short.metrics == ("average_accuracy", "forgetting_first")
    assert full.metrics == ("average_accuracy", "forgetting")
    assert "forgetting" not in short.columns
    assert short.family == 2
    assert short.entries[1].paired["forgetting_first"].mean == 0
    assert found.metrics == ("average_accuracy", "forgetting", "forgetting_first")
    assert set(found.overall) == {"average_accuracy"}  # one stream is no ranking over streams
    assert "| learner | seeds | average_accuracy | learning_accuracy | forgetting_first |" in found.to_markdown()
    (asked,) = compare(online, metrics=["forgetting"]).groups
    assert asked.columns == ("forgetting", "learning_accuracy")
    assert any(note.startswith("forgetting is null for mlp, hope: needs rows 1..T") for note in asked.notes)


def test_a_stream_without_forgetting_leaves_the_ranks_of_the_others(trio: list[Record], tmp_path: Path) -> None:
    split = [learner(tmp_path / "b", m, spread(v, 5), stream="b", stream_digest="b") for m, v in (("mlp", 0.2), ("hope", 0.8))]
    online = [
        make_record(
            tmp_path / "c" / f"{m}.parquet",
            {0: windowed(matrix(0.3, 0.9)), 1: windowed(matrix(0.4, 0.9))},
            model=m,
            stream_digest="c",
        )
        for m in ("mlp", "hope")
    ]
    assert compare([*trio, *split]).overall["forgetting"] == compare([*trio, *split, *online]).overall["forgetting"]


def test_writing_reading_comparing_and_judging_import_nothing_slow(tmp_path: Path) -> None:
    """At run time, not only at import: pyarrow imports pandas behind innocent calls."""
    make_record(tmp_path / "a.parquet", {s: matrix(0.6, 0.9) for s in FIVE})
    code = f"""
import sys
from pathlib import Path
from nlbench import gate
from nlbench.comparison import compare
from nlbench.records import read_record, read_records, rewrite_record
folder = Path({str(tmp_path)!r})
records, _ = read_records([folder])
found = compare(records)
found.to_markdown(), found.to_json(), found.to_csv(), found.to_latex(), records[0].values("accuracy")
rewrite_record(read_record(folder / "a.parquet"), folder / "b.parquet")
gate.check(folder / "b.parquet", against=folder / "a.parquet")
print(sorted({{"torch", "numba", "triton", "pandas", "scipy.stats"}} & set(sys.modules)))
"""
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_a_record_that_was_made_in_no_repository_is_named(tmp_path: Path) -> None:
    known = {"commit": "0123", "dirty": False}
    mine = learner(tmp_path, "mine", spread(0.5, 10), environment=known)
    alone = learner(tmp_path, "alone", spread(0.5, 10), environment={"commit": None, "dirty": None})
    notes = compare([mine, alone]).groups[0].notes
    assert "no commit says which code made alone." in notes
