from __future__ import annotations

import inspect
import warnings

import pytest

from nlbench import errors
from nlbench.errors import Blamed, NlbenchError, Remark, SpecError, UnknownNameError, remarks_told

FOUND = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, Exception)]
KINDS = [kind for kind in FOUND if not issubclass(kind, Warning)]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_one_that_the_command_line_prints_in_a_line(kind: type[Exception]) -> None:
    assert issubclass(kind, NlbenchError)
    assert kind.exit_code == (130 if kind is errors.InterruptedRunError else 2)


def test_text_is_message_then_way_out() -> None:
    error = NlbenchError("x must be 1, got 2.", "Write 1.")
    assert (error.message, error.hint, str(error)) == ("x must be 1, got 2.", "Write 1.", "x must be 1, got 2. Write 1.")
    assert str(NlbenchError("x must be 1.")) == "x must be 1."


def test_spec_error_holds_every_problem_on_its_own_line() -> None:
    error = SpecError(["a.toml: x: is required", "a.toml: y: is required"])
    assert error.problems == ("a.toml: x: is required", "a.toml: y: is required")
    assert str(error).splitlines() == list(error.problems)


def test_unknown_name_suggests_the_nearest_and_nothing_far_away() -> None:
    known = ["split-mnist", "split-digits", "permuted-mnist"]
    assert str(UnknownNameError("stream", "splitmnist", known)).startswith(
        "unknown stream 'splitmnist'. Did you mean split-mnist"
    )
    assert (
        str(UnknownNameError("stream", "zzz", known)) == "unknown stream 'zzz'. Known: permuted-mnist, split-digits, split-mnist."
    )


def test_unknown_name_that_is_a_part_of_known_ones_suggests_these() -> None:
    error = UnknownNameError("model", "naive", ["hope", "naive-convolutional", "slda"])
    assert str(error) == "unknown model 'naive'. Did you mean naive-convolutional?"


def test_remarks_are_told_once_and_other_warnings_stay_warnings(recwarn: pytest.WarningsRecorder) -> None:
    told: list[str] = []
    with remarks_told(told.append):
        for text, kind in (("a", Remark), ("b", Remark), ("a", Remark), ("else", RuntimeWarning)):
            warnings.warn(text, kind, stacklevel=1)
    assert told == ["a", "b"]
    assert [str(one.message) for one in recwarn] == ["else"]


def test_whatever_somebody_else_s_code_raises_is_told_in_a_line() -> None:
    class SilentError(Exception):
        def __str__(self) -> str:
            raise ValueError("in str")

    with pytest.raises(NlbenchError, match=r"^it raised SilentError: <exception str\(\) failed>\. Mend it"), Blamed("it"):
        raise SilentError
    with pytest.raises(NlbenchError, match=r"^it raised ValueError: a b\."), Blamed("it"):
        raise ValueError("a\nb")
    with pytest.raises(NlbenchError, match=r"^it raised GeneratorExit\."), Blamed("it"):
        raise GeneratorExit
