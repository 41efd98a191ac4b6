from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nlbench import catalog
from nlbench.errors import NlbenchError, SpecError
from nlbench.specs import apply_overrides, learner_spec, read_table, stream_spec, validate
from nlbench.specs.loading import listed, toml_value
from nlbench.specs.problems import near


def stream_table(**changes: Any) -> dict[str, Any]:
    table: dict[str, Any] = {
        "title": "t",
        "stream": {"kind": "split", "source": "digits", "tasks": 5},
        "protocol": {"batch": 16},
    }
    for dotted, value in changes.items():
        part, key = dotted.split("__")
        table[part] = {**table.get(part, {}), key: value}
    return table


def stream_problems(**changes: Any) -> list[str]:
    with pytest.raises(SpecError) as caught:
        stream_spec(stream_table(**changes), "s.toml")
    return list(caught.value.problems)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"protocol__batch": 0}, "s.toml: protocol.batch: must be greater than or equal to 1, got 0"),
        ({"protocol__batch": 16.0}, "s.toml: protocol.batch: must be a valid integer, got 16.0"),
        ({"protocol__batch": "16"}, "s.toml: protocol.batch: must be a valid integer, got '16'"),
        ({"protocol__boundaries": 1}, "s.toml: protocol.boundaries: must be a valid boolean, got 1"),
        ({"protocol__pases": 2}, "s.toml: protocol.pases: is not a known key (did you mean passes?), got 2"),
        ({"stream__task": 5}, "s.toml: stream.task: is not a known key (did you mean tasks?), got 5"),
        (
            {"stream__source": "mnits"},
            f"s.toml: stream.source: must be one of {', '.join(sorted(catalog.SOURCES))}, ./file, or package.module:NAME"
            f"{near('mnits', list(catalog.SOURCES))}, got 'mnits'",
        ),
        (
            {"stream__tasks": 3},
            "s.toml: stream.tasks: must divide the 10 classes of digits, got 3; unequal tasks are written as sizes",
        ),
        ({"check__forgetting": float("inf")}, "s.toml: check.forgetting: must be a finite number, got inf"),
        (
            {"stream__kind": "spilt"},
            f"s.toml: stream.kind: must be one of {', '.join(sorted(catalog.STREAMS))}, or package.module:Class"
            " (did you mean split?), got 'spilt'",
        ),
        (
            {"protocol__evaluate": "every"},
            "s.toml: protocol.evaluate: must be full, seen, final or window:K with K >= 1, got 'every'",
        ),
        ({"check__forgetting": 0.0}, "s.toml: check.forgetting: must be greater than 0, got 0.0"),
        ({"check__min_seeds": 1}, "s.toml: check.min_seeds: must be greater than or equal to 2, got 1"),
        ({"protocol__output_space": "task"}, "s.toml: protocol.output_space: must be all or seen in class-il, got task"),
    ],
)
def test_a_broken_rule_is_one_line_with_file_key_rule_and_value(change: dict[str, Any], line: str) -> None:
    assert stream_problems(**change) == [line]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0.03,1e-1, 0.3,", ["0.03", "1e-1", "0.3"]),
        ("[64],[64, 64],[]", ["[64]", "[64, 64]", "[]"]),
        ("[{ width = 8, rate = 0.1 }, { width = 4 }],[]", ["[{ width = 8, rate = 0.1 }, { width = 4 }]", "[]"]),
        ('{ makes = ["keys", "rates"] },inf', ['{ makes = ["keys", "rates"] }', "inf"]),
        ("'a,b',\"c],[\"", ["'a,b'", '"c],["']),
        ("dgd,exact", ["dgd", "exact"]),
    ],
)
def test_a_list_falls_into_the_texts_of_its_values(text: str, values: list[str]) -> None:
    assert listed(text) == values


@pytest.mark.parametrize("kind", ["mlp", "./mine.py:Mine"])
@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_a_learners_values_are_finite(kind: str, value: float) -> None:
    with pytest.raises(SpecError, match=r"^r\.toml: learner\.rate: must be .*finite.*, got (inf|nan)$"):
        learner_spec({"learner": {"kind": kind, "rate": value}}, "r.toml", name="r")


@pytest.mark.parametrize("policy", ["window:0", "window:", "window:-1", "windows:3", "every", "", "full ", "full\n"])
def test_evaluation_policies_that_do_not_exist(policy: str) -> None:
    (line,) = stream_problems(protocol__evaluate=policy)
    assert line.startswith("s.toml: protocol.evaluate: ")


def test_every_broken_rule_is_reported_at_once() -> None:
    table = {
        "stream": {"kind": "permuted", "source": "mnist", "tasks": 0, "degrees": 1.0},
        "protocol": {"passes": "two"},
        "chek": {},
    }
    with pytest.raises(SpecError) as caught:
        stream_spec(table, "s.toml")
    keys = sorted(problem.split(": ")[1] for problem in caught.value.problems)
    assert keys == ["chek", "protocol.batch", "protocol.passes", "stream.degrees", "stream.tasks", "title"]


def test_unknown_kind_of_stream_names_the_kinds() -> None:
    (line,) = stream_problems(stream__kind="splitt")
    assert line.startswith("s.toml: stream")
    assert "'splitt'" in line
    assert all(kind in line for kind in ("split", "permuted", "rotated"))


def recipe_problems(table: dict[str, Any]) -> list[str]:
    with pytest.raises(SpecError) as caught:
        learner_spec(table, "r.toml", name="r")
    return list(caught.value.problems)


@pytest.mark.parametrize(
    ("table", "line"),
    [
        ({}, "r.toml: learner.kind: is required: one of"),
        ({"learner": {"kind": 3}}, "r.toml: learner.kind: is required: one of"),
        ({"learner": {"kind": "mpl"}}, "r.toml: learner.kind: must be one of"),
        ({"learner": {"kind": "mlp", "rate": -1.0}}, "r.toml: learner.rate: must be greater than 0, got -1.0"),
        ({"learner": {"kind": "mlp", "hiden": [8]}}, "r.toml: learner.hiden: is not a known key (did you mean hidden?), got [8]"),
        ({"learner": {"kind": "mlp", "hidden": [8, 0]}}, "r.toml: learner.hidden.1: must be greater than or equal to 1, got 0"),
        (
            {"learner": {"kind": "cms", "periods": [4, 4]}},
            "r.toml: learner.periods: must differ from each other, as a level is named by its period, got [4, 4]",
        ),
        ({"learner": {"kind": "mlp"}, "batch": 0}, "r.toml: batch: must be greater than or equal to 1, got 0"),
        ({"learner": {"kind": "mlp"}, "passes": 0}, "r.toml: passes: must be greater than or equal to 1, got 0"),
        (
            {"learner": {"kind": "mlp"}, "presents": "joint"},
            "r.toml: presents: must be 'sequential', 'cumulative' or 'accumulated', got 'joint'",
        ),
        ({"learner": {"kind": "mlp"}, "lerner": {}}, "r.toml: lerner: is not a known key (did you mean learner?), got {}"),
        ({"learner": 3}, "r.toml: learner and on.<stream> must be tables"),
        ({"learner": {"kind": "mlp"}, "on": {"s": 1}}, "r.toml: learner and on.<stream> must be tables"),
    ],
)
def test_a_broken_recipe_is_one_line_with_file_key_rule_and_value(table: dict[str, Any], line: str) -> None:
    (problem,) = recipe_problems(table)
    assert problem.startswith(line)


def test_a_recipe_reports_inner_and_outer_problems_together() -> None:
    lines = recipe_problems({"learner": {"kind": "mlp", "rate": 0.0, "momentum": 1.0}, "batch": "16", "titel": "x"})
    assert sorted(line.split(": ")[1] for line in lines) == ["batch", "learner.momentum", "learner.rate", "titel"]


def test_an_external_learner_keeps_its_options_as_given() -> None:
    spec = learner_spec({"learner": {"kind": "./a.py:A", "anything": [1, {"x": 2}]}}, "r", name="A")
    assert spec.learner.options == {"anything": [1, {"x": 2}]}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.5", 0.5),
        ("3", 3),
        ("true", True),
        ("[1, 2]", [1, 2]),
        ("task-il", "task-il"),
        ('"8"', "8"),
        ("window:3", "window:3"),
        ("", ""),
    ],
)
def test_override_values_are_toml_or_else_text(text: str, value: Any) -> None:
    assert toml_value(text) == value
    assert type(toml_value(text)) is type(value)


def test_overrides_touch_only_their_tables_and_never_the_original() -> None:
    table = {"learner": {"kind": "mlp", "rate": 0.1}, "batch": 8}
    changed = apply_overrides(table, {"learner.rate": "0.2", "batch": "4", "protocol.passes": "2"}, ("learner", "batch"))
    assert changed == {"learner": {"kind": "mlp", "rate": 0.2}, "batch": 4}
    assert table == {"learner": {"kind": "mlp", "rate": 0.1}, "batch": 8}
    deep = {"learner": {"keys": {"width": 8}}}
    assert apply_overrides(deep, {"learner.keys.width": "4"}, ("learner",)) == {"learner": {"keys": {"width": 4}}}
    assert deep == {"learner": {"keys": {"width": 8}}}
    with pytest.raises(SpecError, match=r"--set batch\.x: batch is a value, not a table"):
        apply_overrides(table, {"batch.x": "1"}, ("batch",))


@pytest.mark.parametrize(
    ("overrides", "optimizer"),
    [
        ({"kind": "adam"}, {"kind": "adam"}),
        ({"rate": "0.01", "kind": "adam"}, {"kind": "adam", "rate": 0.01}),
        ({"kind": "adam", "rate": "0.01"}, {"kind": "adam", "rate": 0.01}),
        ({"kind": "sgd"}, {"kind": "sgd", "rate": 0.3, "momentum": 0.5}),
    ],
)
def test_another_kind_of_an_inner_table_takes_nothing_of_the_kind_before(
    overrides: dict[str, str], optimizer: dict[str, Any]
) -> None:
    table = {"learner": {"kind": "er", "capacity": 9, "optimizer": {"kind": "sgd", "rate": 0.3, "momentum": 0.5}}}
    said = {f"learner.optimizer.{key}": text for key, text in overrides.items()}
    found = apply_overrides(table, {"learner.capacity": "5", **said}, ("learner",))
    assert found == {"learner": {"kind": "er", "capacity": 5, "optimizer": optimizer}}
    assert apply_overrides(table, {"learner.kind": "derpp"}, ("learner",))["learner"]["capacity"] == 9
    with pytest.raises(SpecError, match=r"--set learner\.capacity\.kind: capacity is a value, not a table"):
        apply_overrides(table, {"learner.capacity.kind": "x"}, ("learner",))


@pytest.mark.parametrize(
    ("text", "name"),
    [("0", "0"), ("1e3", "1e3"), ("true", "true"), ("label", "label"), ('"2"', "2"), ('["0", "id"]', ["0", "id"])],
)
def test_an_override_names_a_column_as_it_is_called(text: str, name: Any) -> None:
    assert apply_overrides({}, {"stream.read.unused": text}, ("stream",)) == {"stream": {"read": {"unused": name}}}


def test_a_number_of_a_file_is_no_column_s_name() -> None:
    with pytest.raises(SpecError, match=r"stream\.read\.labels: must be a valid string, got 2"):
        stream_spec({"title": "t", "stream": {"kind": "split", "source": "./no.csv", "tasks": 2, "read": {"labels": 2}}}, "t")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "syntax.toml").write_text("[stream\n")
    (tmp_path / "latin.toml").write_bytes(b'title = "\xe9"')
    with pytest.raises(SpecError, match=r"syntax.toml: not TOML: .*line 1"):
        read_table(tmp_path / "syntax.toml")
    with pytest.raises(SpecError, match=r"latin.toml: not UTF-8 text"):
        read_table(tmp_path / "latin.toml")
    with pytest.raises(NlbenchError, match=r"absent.toml: cannot be read: No such file"):
        read_table(tmp_path / "absent.toml")


def test_validate_checks_the_table_of_every_stream_and_names_each_rule_once(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text('batch = 0\n[learner]\nkind = "mlp"\n[on.a]\nrate = -1.0\n[on.b]\nhiden = [1]\n')
    with pytest.raises(SpecError) as caught:
        validate(read_table(path), path)
    assert caught.value.problems == (
        f"{path}: batch: must be greater than or equal to 1, got 0",
        f'{path}: on."a": learner.rate: must be greater than 0, got -1.0',
        f'{path}: on."b": learner.hiden: is not a known key (did you mean hidden?), got [1]',
    )


def test_a_stream_without_a_kind_is_told_so() -> None:
    with pytest.raises(SpecError, match=r"^s\.toml: stream\.kind: is required: one of arrays, .*, split, or"):
        stream_spec({"title": "t", "stream": {"source": "digits"}, "protocol": {"batch": 1}}, "s.toml")


def test_a_byte_order_mark_is_no_syntax_error(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text('[learner]\nkind = "mlp"\n', encoding="utf-8-sig")
    assert validate(read_table(tmp_path / "r.toml"), tmp_path / "r.toml") == "learner"


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("x = " + "[" * 330 + "]" * 330, "nested at most 16 deep"),
        ("x = " + "[" * 20 + "]" * 20, "nested at most 16 deep"),
        ("x = " + "{a = " * 330 + "1" + "}" * 330, "nested at most 16 deep"),
        ("a." * 30_000 + "a = 1", "nested at most 16 deep"),
        ("'a' . " * 30_000 + "a = 1", "nested at most 16 deep"),
        ("[" + "a." * 30_000 + "a]", "nested at most 16 deep"),
        ("x = " + "9" * 5000, "a number cannot be read"),
        ("x = '" + "y" * 2**18 + "'", "must have at most 262,144 bytes"),
        ("x = '\x1b[31m'", "not TOML"),
    ],
)
def test_a_file_that_is_too_deep_or_too_large_is_one_line(tmp_path: Path, text: str, rule: str) -> None:
    (tmp_path / "x.toml").write_text(text)
    with pytest.raises(SpecError, match=rule) as caught:
        read_table(tmp_path / "x.toml")
    assert len(caught.value.problems) == 1
    assert "\x1b" not in str(caught.value)
    assert isinstance(toml_value(text.removeprefix("x = ")), str)


def test_what_looks_like_a_deep_key_and_is_none_is_read(tmp_path: Path) -> None:
    numbers = ", ".join(f'"0.{number}"' for number in range(40))
    (tmp_path / "x.toml").write_text(f"x = [{numbers}]\ny = 'one. two. ' # {'word ' * 50_000}\n")
    assert len(read_table(tmp_path / "x.toml")["x"]) == 40


def test_a_device_is_no_declaration() -> None:
    with pytest.raises(NlbenchError, match="is no file"):
        read_table(Path("/dev/null"))


@given(st.text(max_size=200) | st.text("[]{}=.\"'\n a1", max_size=400))
@settings(max_examples=200, deadline=5000, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_is_a_declaration_or_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.toml").write_text(text, encoding="utf-8")
    try:
        validate(read_table(tmp_path / "x.toml"), tmp_path / "x.toml")
    except NlbenchError as error:
        assert "x.toml" in str(error)  # noqa: PT017
