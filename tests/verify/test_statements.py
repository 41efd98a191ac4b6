import pytest
from pydantic import TypeAdapter, ValidationError

from nlbench.verify.statements import Equality, Order, Slope, Statement, Value

READ = TypeAdapter(Statement)
TABLES = {
    Value: {"kind": "value", "of": "a", "equals": 0.5, "band": 0.1},
    Order: {"kind": "order", "above": "a", "below": "b"},
    Equality: {"kind": "equality", "of": "a", "to": "b", "within": 0.1},
    Slope: {"kind": "slope", "of": ["a", "b", "c"], "against": [1.0, 2.0, 4.0]},
}


@pytest.mark.parametrize("kind", TABLES)
def test_a_statement_is_read_by_its_kind_and_names_the_runs_that_it_is_of(kind: type) -> None:
    read = READ.validate_python(TABLES[kind])
    assert type(read) is kind
    assert read.cells == {Value: ("a",), Slope: ("a", "b", "c")}.get(kind, ("a", "b"))
    assert read.metric == "average_accuracy"


@pytest.mark.parametrize(
    ("kind", "values", "rule"),
    [
        (Value, {"band": 0.0}, "greater than 0"),
        (Value, {"equals": float("nan")}, "finite"),
        (Order, {"by": -0.1}, "greater than or equal to 0"),
        (Order, {"below": "a"}, "must be two runs"),
        (Equality, {"to": "a"}, "must be two runs"),
        (Slope, {"against": [1.0, 1.0, 1.0]}, "different numbers"),
        (Slope, {"against": [1.0, 2.0]}, "a number for each of the 3 runs"),
        (Slope, {"of": ["a", "b", "a"]}, "different runs"),
        (Slope, {"at_least": float("inf")}, "finite"),
    ],
)
def test_what_no_means_could_be_judged_by_is_refused(kind: type, values: dict[str, object], rule: str) -> None:
    with pytest.raises(ValidationError, match=rule):
        READ.validate_python(TABLES[kind] | values)
