"""How `key=value` options are read."""

from __future__ import annotations

import pytest

from nlbench.cli.options import overrides
from nlbench.errors import NlbenchError


def test_pairs_keep_what_follows_the_first_sign() -> None:
    assert overrides(["learner.rate = 0.1", "a=b=c", "empty="]) == {"learner.rate": "0.1", "a": "b=c", "empty": ""}
    assert overrides(None) == overrides([]) == {}


def test_what_is_no_pair_is_named_with_its_option() -> None:
    with pytest.raises(NlbenchError, match=r"^--space rate: must be key=value"):
        overrides(["a=1", "rate"], "--space")
