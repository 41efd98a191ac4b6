"""One exit status for several judgements."""

from __future__ import annotations

from nlbench import gate


def test_statuses_of_several() -> None:
    def of(*verdicts_: gate.Verdict) -> gate.Judgement:
        return gate.Judgement("r", None, "m", "s", tuple(gate.Finding("forgetting", v, "") for v in verdicts_), (), {})

    assert of().exit_status == 2
    assert gate.exit_status([]) == 2
    assert of("worse", "undecided").exit_status == 1
    for verdict in ("undecided", "too-few-seeds", "missing", "mismatched", "not-finite", "at-chance", "not-above-chance"):
        assert of("ok", verdict).exit_status == 2  # type: ignore[arg-type]
    assert gate.exit_status([of("ok"), of("undecided"), of("worse")]) == 1
    assert gate.exit_status([of("ok"), of("undecided")]) == 2
    assert gate.exit_status([of("ok"), of("better")]) == 0
