"""Public names are there on first use, and no others."""

from __future__ import annotations

import importlib.util

import pytest

import nlbench


@pytest.mark.parametrize("name", nlbench.__all__)
def test_public_names_resolve_and_no_module_shares_a_name_with_one(name: str) -> None:
    assert getattr(nlbench, name) is not None
    assert importlib.util.find_spec(f"nlbench.{name}") is None


def test_what_is_not_public_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"module 'nlbench' has no attribute 'runn'"):
        nlbench.runn  # noqa: B018
