from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nlbench
from nlbench import catalog, plan
from nlbench.code import Code
from nlbench.errors import DataError, NlbenchError, SpecError, UnknownNameError
from nlbench.plan import DeclaredStream, Plan, resolve, stream_from_arrays
from nlbench.sources import is_data, pixels
from nlbench.specs import identity, stream_spec


def resolved(model: str = "mlp", stream: str = "split-digits", **overrides: str) -> Plan:
    return resolve(model, stream, seeds=(0, 1), overrides={key.replace("__", "."): value for key, value in overrides.items()})


def test_a_plan_decides_every_value() -> None:
    made = resolved()
    assert (made.model, made.stream_name, made.seeds, made.batch) == ("mlp", "split-digits", (0, 1), 16)
    facts = made.describe()
    assert facts["stream_spec"]["stream"]["class_order"] == "natural"
    assert facts["learner_spec"] == made.learner.identity()
    assert facts["terms"] == {"passes": 1, "batch": 16, "boundaries": False}
    assert facts["n_tasks"] == 5
    assert made.record_path(Path("r")) == Path(f"r/mlp.split-digits.{made.fingerprint}.parquet")


def test_a_recipes_table_for_the_stream_applies_and_the_command_line_has_the_last_word() -> None:
    assert resolved("mlp").learner.learner.hidden == (128,)
    assert resolved("mlp", "split-mnist").learner.learner.hidden == (256, 256)
    assert resolved("mlp", learner__hidden="[9]").learner.learner.hidden == (9,)
    assert resolved("mlp", batch="4").batch == 4
    assert resolved("mlp", protocol__batch="4").batch == 4
    assert resolved("mlp", presents="cumulative").learner.presents == "cumulative"


def test_a_batch_for_one_stream_applies_there_and_can_be_overridden(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('batch = 8\n[learner]\nkind = "mlp"\n[on."split-digits"]\nbatch = 2\nrate = 0.5\n')
    there, elsewhere = resolved(str(path)), resolved(str(path), "permuted-digits")
    assert (there.model, there.batch, there.learner.learner.rate) == ("mine", 2, 0.5)
    assert (elsewhere.batch, elsewhere.learner.learner.rate) == (8, 0.1)
    assert resolved(str(path), batch="3").batch == 3
    assert resolved(str(path), learner__rate="0.25").learner.learner.rate == 0.25


def test_passes_of_a_recipe_are_of_the_terms_and_the_command_line_has_the_last_word(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('passes = 3\n[learner]\nkind = "mlp"\n[on."split-digits"]\npasses = 5\n')
    made = resolved(str(path))
    assert (made.stream.protocol.passes, made.describe()["terms"]["passes"]) == (5, 5)
    assert resolved(str(path), "permuted-digits").stream.protocol.passes == 3
    assert resolved(str(path), protocol__passes="2").stream.protocol.passes == 2
    assert made.declared.digest == resolved().declared.digest
    assert made.fingerprint == resolved(str(path), "split-digits", protocol__passes="5").fingerprint


def test_a_recipe_has_its_learner_told_of_boundaries_as_a_term_and_a_note_says_so(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('boundaries = true\n[learner]\nkind = "lwf"\n[on."permuted-digits"]\nboundaries = false\n')
    made, asked = resolved(str(path)), resolved(str(path), protocol__boundaries="true")
    assert made.describe()["terms"]["boundaries"] is True
    assert made.notes == ("mine is told when a task ends, as its recipe says: boundaries are a term, shown beside every number.",)
    assert (made.declared.digest, made.fingerprint) == (resolved().declared.digest, asked.fingerprint)
    assert asked.notes == resolved("mlp").notes == ()
    for other in (resolved(str(path), "permuted-digits"), resolved(str(path), protocol__boundaries="false")):
        assert (other.stream.protocol.boundaries, other.notes) == (False, ())


@pytest.mark.parametrize("what", ["stream", "model"])
def test_a_name_that_no_record_may_hold_is_refused_before_anything_runs(what: str, tmp_path: Path) -> None:
    file = tmp_path / "a\x1b[31m.toml"
    shutil.copy(catalog.find("stream", "split-digits") if what == "stream" else catalog.find("model", "mlp"), file)
    names = {"model": "mlp", "stream": "split-digits"} | {what: str(file)}
    with pytest.raises(NlbenchError, match=rf"{what} 'a\\\\x1b\[31m': a name must have no control character\. Rename its file"):
        resolve(**names, seeds=[0])


def test_a_stream_may_be_a_file(tmp_path: Path) -> None:
    shutil.copy(catalog.find("stream", "split-digits"), tmp_path / "own.toml")
    own = resolved("mlp", str(tmp_path / "own.toml"))
    assert own.stream_name == "own"
    assert own.declared.digest == resolved().declared.digest


def test_the_scenario_is_an_override_of_the_stream() -> None:
    made = resolve("mlp", "split-digits", seeds=(0,), scenario="task-il")
    assert made.stream.stream.scenario == "task-il"
    assert made.fingerprint == resolve("mlp", "split-digits", seeds=(0,), overrides={"stream.scenario": "task-il"}).fingerprint
    with pytest.raises(SpecError, match=r"--set stream.scenario: must be 'task-il', 'domain-il' or 'class-il', got 'taskil'"):
        resolve("mlp", "split-digits", seeds=(0,), scenario="taskil")


def test_the_fingerprint_is_what_decides_the_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    same = resolved().fingerprint
    assert len(same) == 16
    assert resolved().fingerprint == same
    assert resolve("mlp", "split-digits", seeds=(7,)).fingerprint == same  # not the seeds
    assert resolved(learner__rate="0.010").fingerprint == same  # not the way a value is given
    others = [
        resolved("joint"),
        resolved("mlp", "permuted-digits"),
        resolved(learner__rate="0.2"),
        resolved(batch="8"),
        resolved(protocol__passes="2"),
        resolved(protocol__evaluate_every="50"),
        resolved(stream__scenario="task-il"),
        resolve("mlp", "split-digits", seeds=(0, 1), precision="bf16"),
    ]
    prints = {made.fingerprint for made in others}
    monkeypatch.setattr(plan, "PROTOCOL_VERSION", 99)
    prints.add(resolved().fingerprint)
    monkeypatch.undo()
    prints.add(replace(resolved(), code=Code({"learner": "other code"})).fingerprint)
    assert len(prints) == len(others) + 2
    assert same not in prints


def test_a_record_says_all_that_its_fingerprint_covers() -> None:
    for made in (resolved(), resolved("hope", "permuted-mnist")):
        facts = json.loads(json.dumps(made.describe()))
        assert identity.fingerprint(facts) == made.fingerprint
        assert identity.stream_digest(facts["stream_spec"], facts["data"]) == facts["stream_digest"] == made.declared.digest


def test_a_stream_is_apart_from_the_terms_it_is_presented_under_and_how_it_is_measured() -> None:
    same = resolved().declared.digest
    for key, value in {"passes": "2", "batch": "3", "boundaries": "true", "evaluate": "seen", "evaluate_every": "50"}.items():
        assert resolved(**{f"protocol__{key}": value}).declared.digest == same, key
    for key, value in {"stream__tasks": "2", "stream__scenario": "domain-il", "protocol__output_space": "seen"}.items():
        assert resolved(**{key: value}).declared.digest != same, key
    assert resolved(protocol__output_space="all").declared.digest == same  # the scenario's own


def test_the_batch_counts_and_not_who_decided_it() -> None:
    assert resolved(batch="4").fingerprint == resolved(protocol__batch="4").fingerprint != resolved().fingerprint


def test_names_that_are_not_there_suggest_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown model 'mpl'\. Did you mean mlp\?"):
        resolved("mpl")
    with pytest.raises(UnknownNameError, match=r"unknown stream 'split-digit'\. Did you mean split-digits"):
        resolved("mlp", "split-digit")
    with pytest.raises(NlbenchError, match=r"gone\.py: there is no such file\. Name a learner as \./file\.py:Name\."):
        resolved("./gone.py:Mine")


def test_the_precision_is_float32_or_one_that_is_known() -> None:
    assert resolved().describe()["precision"] == "float32"
    assert resolve("mlp", "split-digits", seeds=(0,), precision="bf16").describe()["precision"] == "bf16"
    with pytest.raises(UnknownNameError, match=r"unknown precision 'fp16'\. Did you mean bf16\?"):
        resolve("mlp", "split-digits", seeds=(0,), precision="fp16")


def test_overrides_must_name_a_table_that_exists_and_all_wrong_ones_are_told() -> None:
    with pytest.raises(SpecError) as caught:
        resolved(lerner__rate="1", chek__forgetting="1", protocol__passes="2")
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["--set lerner.rate", "--set chek.forgetting"]
    assert "protocol.<key>" in caught.value.problems[0]
    with pytest.raises(SpecError, match=r"^--set passes: must be .* \(did you mean protocol\.passes\?\)$"):
        resolve("mlp", "split-digits", seeds=[0], overrides={"passes": "2"})
    with pytest.raises(SpecError, match=r"--set learner\.rat: is not a known key \(did you mean rate\?\), got 1"):
        resolved(learner__rat="1")
    with pytest.raises(SpecError, match=r"--set protocol.passes: must be greater than or equal to 1, got 0"):
        resolved(protocol__passes="0")


def test_a_recipes_table_for_a_stream_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('[learner]\nkind = "mlp"\n[on."split-digit"]\nrate = 0.5\n')
    with pytest.raises(SpecError, match=r'mine\.toml: on\."split-digit": unknown stream .* Did you mean split-digits'):
        resolved(str(path))


def test_a_class_stands_for_a_recipe_and_bears_its_name(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\n")
    first = resolved(f"{tmp_path}/a.py:Mine", learner__rate="0.5")
    assert first.model == "Mine"
    assert first.learner.learner.options == {"rate": 0.5}
    (tmp_path / "a.py").write_text("x = 2\n")
    assert resolved(f"{tmp_path}/a.py:Mine", learner__rate="0.5").fingerprint != first.fingerprint


def test_a_package_s_learner_is_identified_by_its_source_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "learners_here"
    package.mkdir()
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    fingerprints = set()
    for content in ("x = 1\n", "x = 2\n"):
        (package / "mine.py").write_text(content)
        plan = resolved("learners_here.mine:Mine")
        assert plan.model == "Mine"
        fingerprints.add(plan.fingerprint)
    assert len(fingerprints) == 2
    assert "learners_here.mine" not in sys.modules
    with pytest.raises(NlbenchError, match=r"learners_here\.yours: there is no such module"):
        resolved("learners_here.yours:Mine")
    with pytest.raises(NlbenchError, match=r"no_such\.module: there is no such module"):
        resolved("no_such.module:Mine")


X, Y = np.zeros((4, 3), np.float32), np.array([0, 1, 0, 1])


def test_protocol_values_are_checked_like_those_of_a_file() -> None:
    with pytest.raises(SpecError, match=r"stream s: protocol.pases: is not a known key \(did you mean passes\?\)"):
        stream_from_arrays("s", [(X, Y, X, Y)], pases=2)


@pytest.mark.parametrize("name", ["a/b", "", "../x", ".hidden", None, 3])
def test_a_name_that_cannot_be_part_of_a_file_name_is_refused(name: Any) -> None:
    with pytest.raises(DataError, match="stream name: must be usable as part of a file name"):
        stream_from_arrays(name, [(X, Y, X, Y)])


def test_a_file_that_says_arrays_names_where_they_are(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text('title = "t"\n[stream]\nkind = "arrays"\ntasks = 2\n[protocol]\nbatch = 8\n')
    with pytest.raises(SpecError, match=r"stream\.source: is required: \./file with a column of tasks"):
        resolved("mlp", str(path))


def test_a_plan_holds_the_data_that_it_was_given_and_overrides_leave_it_there() -> None:
    declared = stream_from_arrays("s", [(X, Y, X, Y)])
    made = resolve("mlp", declared, seeds=(0,), overrides={"protocol.passes": "2"})
    assert made.declared.source is declared.source
    assert (made.stream_name, made.stream.protocol.passes) == ("s", 2)
    assert made.describe()["data"] == {"arrays": declared.source.checksum}
    other = resolve("mlp", stream_from_arrays("s", [(X + 1, Y, X, Y)]), seeds=(0,), overrides={"protocol.passes": "2"})
    assert other.fingerprint != made.fingerprint


def stream_digest(table: dict[str, Any]) -> str:
    spec = stream_spec(table, "s")
    return DeclaredStream("s", spec, spec.stream.found).digest


def test_the_digest_of_a_stream_is_what_changes_results_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    base = {"title": "t", "stream": {"kind": "permuted", "source": "digits"}, "protocol": {"batch": 16}}
    same = stream_digest(base)
    assert stream_digest({**base, "title": "u", "check": {"forgetting": 0.5}}) == same
    defaults = {**base["stream"], "tasks": 10, "scenario": "domain-il"}
    assert stream_digest({**base, "stream": defaults}) == same
    for table, key, value in [
        ("stream", "tasks", 9),
        ("stream", "scenario", "task-il"),
    ]:
        assert stream_digest({**base, table: {**base[table], key: value}}) != same
    monkeypatch.setattr(pixels, "DIGITS", replace(pixels.DIGITS, files={"digits.csv": "0" * 64}))
    assert stream_digest(base) != same


RECIPE = '[learner]\nkind = "mlp"\n[on."split/digits"]\nrate = 0.5\nhidden = [4]\n[on."mine"]\nrate = 0.25\n'


def test_values_for_a_kind_and_source_hold_for_a_copy_and_those_of_a_name_come_last(tmp_path: Path) -> None:
    recipe = tmp_path / "r.toml"
    recipe.write_text(RECIPE)
    for name in ("copy", "mine"):
        shutil.copy(catalog.find("stream", "split-digits"), tmp_path / f"{name}.toml")
    found = {name: resolved(str(recipe), str(tmp_path / f"{name}.toml")) for name in ("copy", "mine")}
    assert {name: plan.learner.learner.rate for name, plan in found.items()} == {"copy": 0.5, "mine": 0.25}
    assert all(plan.learner.learner.hidden == (4,) and not plan.notes for plan in found.values())
    assert resolved(str(recipe), "permuted-digits").learner.learner.rate == 0.1
    copied = resolved("hope", str(tmp_path / "copy.toml"))
    assert copied.learner.learner == resolved("hope").learner.learner


def test_a_copy_that_gets_no_values_of_the_stream_it_was_is_told_so_in_one_line(tmp_path: Path) -> None:
    recipe, copy = tmp_path / "r.toml", tmp_path / "copy.toml"
    recipe.write_text('[learner]\nkind = "mlp"\n[on."split-digits"]\nrate = 0.5\n')
    shutil.copy(catalog.find("stream", "split-digits"), copy)
    (note,) = resolved(str(recipe), str(copy)).notes
    assert note.startswith(f'{recipe}: on."split-digits" is for the stream of that name: copy, which is split/digits too, gets')
    assert 'Call the table on."split/digits"' in note
    assert "\n" not in note
    shutil.copy(catalog.find("stream", "permuted-digits"), copy)
    assert resolved(str(recipe), str(copy)).notes == ()  # another kind
    assert resolved(str(recipe)).notes == resolved(str(recipe), "permuted-digits").notes == ()
    shutil.copy(catalog.find("stream", "split-digits"), copy)
    with pytest.warns(UserWarning, match=r"split/digits too"):
        nlbench.run(str(recipe), str(copy), seeds=1, results=tmp_path, device="cpu", overrides={"stream.tasks": "1"})


def test_the_role_of_a_recipe_is_recorded_and_no_part_of_what_it_is(tmp_path: Path) -> None:
    assert (resolved("mlp").describe()["role"], resolved("joint").describe()["role"]) == ("naive", "joint")
    assert resolved("hope").describe()["role"] is None
    path = tmp_path / "r.toml"
    prints = set()
    for role in ("", 'role = "naive"\n', 'role = "joint"\n'):
        path.write_text(f'{role}[learner]\nkind = "mlp"\n')
        prints.add(resolved(str(path)).fingerprint)
    assert len(prints) == 1
    path.write_text('role = "bound"\n[learner]\nkind = "mlp"\n')
    with pytest.raises(SpecError, match=r"r\.toml: role: must be 'naive', 'joint' or 'reset', got 'bound'"):
        resolved(str(path))


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("learner.ratee", "0.1", r"^--set learner\.ratee: is not a known key \(did you mean rate\?\), got 0\.1$"),
        ("learner.rate", "fast", r"^--set learner\.rate: .*got 'fast'$"),
        ("stream.tasks", "3", r"^--set stream\.tasks: must divide the 10 classes of digits, got 3"),
        ("protocol.evaluate_every", "null", r"^--set protocol\.evaluate_every: must be a valid integer, or none, got 'null'$"),
        ("protocol.pases", "2", r"^--set protocol\.pases: is not a known key"),
    ],
)
def test_what_the_command_line_says_wrongly_is_not_blamed_on_a_file(key: str, value: str, told: str) -> None:
    with pytest.raises(SpecError, match=told):
        resolve("mlp", "split-digits", seeds=[0], overrides={key: value})


@pytest.mark.parametrize("key", ["protocol.evaluate_every", "check.forgetting", "check.average_accuracy"])
def test_what_a_file_says_can_be_unset(key: str) -> None:
    table, name = key.split(".")
    before, after = (
        getattr(resolve("mlp", "split-digits", seeds=[0], overrides=each).stream, table) for each in ({}, {key: "none"})
    )
    assert getattr(before, name) is not None
    assert getattr(after, name) is None


def test_a_file_without_a_class_is_told_how_to_name_one(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("")
    with pytest.raises(NlbenchError, match=r"mine\.py: names no class\. Name a model of a file of your own as .*mine\.py:Name\."):
        resolve(str(tmp_path / "mine.py"), "split-digits", seeds=[0])


@pytest.mark.parametrize(("name", "called"), [("latest.v1.csv", "latest.v1"), ("a:b.csv", "a:b")])
def test_a_data_file_is_called_by_all_of_its_name_but_the_ending(
    name: str, called: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_text("x,label\n" + "".join(f"{number},{number % 4}\n" for number in range(40)))
    assert resolve("ncm", f"./{name}", seeds=(0,), overrides={"stream.tasks": "2"}).stream_name == called


def test_a_function_of_a_python_file_is_no_data_whatever_it_is_called() -> None:
    assert not is_data("./a.py:b.csv")
    assert is_data("./my.folder/")
