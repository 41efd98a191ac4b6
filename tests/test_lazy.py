"""Public names are there on first use, and no others."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

import nlbench


@pytest.mark.parametrize("name", nlbench.__all__)
def test_public_names_resolve_and_no_module_shares_a_name_with_one(name: str) -> None:
    assert getattr(nlbench, name) is not None
    assert importlib.util.find_spec(f"nlbench.{name}") is None


def test_modules_that_the_documents_name_need_no_import_of_their_own() -> None:
    code = "import nlbench\nprint(nlbench.seeds.generator.__name__, nlbench.api.tune.__name__)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "generator tune\n"


def test_what_is_not_public_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"module 'nlbench' has no attribute 'runn'"):
        nlbench.runn  # noqa: B018
