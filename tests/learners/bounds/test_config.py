from __future__ import annotations

from nlbench.learners.bounds.config import IndependentConfig
from nlbench.learners.gradient_config import NaiveConfig


def test_a_network_that_starts_anew_is_told_what_plain_fine_tuning_is() -> None:
    ours, plain = (
        kind.model_validate({"kind": name}) for kind, name in ((IndependentConfig, "independent"), (NaiveConfig, "naive"))
    )
    assert ours.model_dump(exclude={"kind"}) == plain.model_dump(exclude={"kind"})
