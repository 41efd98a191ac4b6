"""What `nlbench bench` asks for and exits with."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from command_line import Command

from nlbench import api
from nlbench.display import benchmarks


@pytest.mark.parametrize(("passed", "code"), [(True, 0), (False, 1)])
@pytest.mark.parametrize(
    ("arguments", "function", "shown", "asked"),
    [
        (("kernels", "--op", "mlp_step", "--peers"), "bench_kernels", "kernels", (["mlp_step"], "cpu")),
        (("runs", "-s", "split-digits", "--repeats", "2"), "bench_runs", "runs", (["split-digits"],)),
    ],
)
def test_a_check_that_fails_exits_1(
    passed: bool,
    code: int,
    arguments: tuple[str, ...],
    function: str,
    shown: str,
    asked: tuple[Any, ...],
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[Any] = []

    def bench(*given: Any, **options: Any) -> SimpleNamespace:
        seen.append(given)
        return SimpleNamespace(passed=passed)

    monkeypatch.setattr(api, function, bench)
    monkeypatch.setattr(benchmarks, shown, lambda report, as_json: seen.append(as_json))
    assert command("bench", *arguments, "--json").code == code
    assert seen == [asked, True]


@pytest.mark.parametrize(
    ("arguments", "line"), [(("kernels", "--op", "mlp_stp"), "kernel op"), (("runs", "-s", "x"), "timed stream")]
)
def test_an_unknown_name_is_one_line(arguments: tuple[str, ...], line: str, command: Command) -> None:
    done = command("bench", *arguments)
    assert done.code == 2
    assert f"nlbench: unknown {line}" in done.err
