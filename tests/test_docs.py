"""The pages: every name of the API page exists and says what it does, and the site asks for nothing from elsewhere."""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
from pathlib import Path

import pytest
import yaml

from nlbench import catalog, sources
from nlbench.specs.reading import Reading
from nlbench.specs.streams import StreamConfig
from nlbench.verify import read_claims
from nlbench.verify.page import page

ROOT = Path(__file__).parents[1]
NAMES = re.findall(r"^::: (\S+)$", (ROOT / "docs" / "api.md").read_text(encoding="utf-8"), flags=re.MULTILINE)


def found(name: str) -> object:
    """The module, or the attribute of one."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        module, _, attribute = name.rpartition(".")
        return getattr(importlib.import_module(module), attribute)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_on_the_api_page_exists_and_says_what_it_does(name):
    assert found(name).__doc__


def test_every_public_name_is_on_the_api_page():
    import nlbench

    assert {f"nlbench.{name}" for name in nlbench.__all__ if not name.startswith("_")} <= set(NAMES)


def test_aligned_lists_of_docstrings_become_lists():
    spec = importlib.util.spec_from_file_location("docstring_lists", ROOT / "tools" / "docstring_lists.py")
    lists = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(lists)
    text = "Return a run.\n\nmodel    a recipe,\n         or a file\nseeds    how many\nRaises what\n    is wrong."
    expected = "Return a run.\n\n\n- `model`: a recipe,\n  or a file\n- `seeds`: how many\n\nRaises what\n    is wrong."
    assert lists.listed(text) == expected
    assert lists.listed("One line.\n\n    code = 1") == "One line.\n\n    code = 1"


def unquoted(text: str) -> list[str]:
    """Every command of a page with a bracket or brace outside quotes, which some shells take for names of files."""
    commands = re.findall(
        r"`((?:nlbench|pip|pytest|python) [^`\n]+)`|^ *((?:nlbench|pip|pytest|python) .+)$", text, flags=re.MULTILINE
    )
    bare = {command: re.sub(r"'[^']*'|\"[^\"]*\"|#.*", "", command) for found in commands for command in found}
    return [command for command, left in bare.items() if set("[]{}") & set(left)]


def test_commands_of_the_pages_may_be_pasted_into_any_shell():
    assert unquoted("`nlbench run --set a=[1]`\nnlbench tune --space b=[1],[2]\n`pip install 'nlbench[text]'`") == [
        "nlbench run --set a=[1]",
        "nlbench tune --space b=[1],[2]",
    ]
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").glob("*.md")]
    assert {path.name: found for path in pages if (found := unquoted(path.read_text(encoding="utf-8")))} == {}


def test_the_site_asks_for_no_font_and_knows_every_page():
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert site["theme"]["font"] is False
    assert not re.search(r"https?://", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert set(re.findall(r"[\w/-]+\.md", str(site["nav"]))) == pages


def test_the_page_of_methods_is_what_its_tool_makes():
    spec = importlib.util.spec_from_file_location("make_methods", ROOT / "tools" / "make_methods.py")
    make_methods = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make_methods)
    assert make_methods.PAGE.read_text(encoding="utf-8") == make_methods.page(), "run python tools/make_methods.py"


def test_the_page_of_claims_is_what_the_kept_verdicts_make():
    spec = importlib.util.spec_from_file_location("make_claims", ROOT / "tools" / "make_claims.py")
    make_claims = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make_claims)
    quick, full = (json.loads(path.read_text(encoding="utf-8")) for path in make_claims.KEPT)
    assert {one["claim"] for one in quick} == {name for name, _ in read_claims()}
    assert all(one["reduced"] for one in quick)
    assert not any(one["reduced"] for one in full)
    judged = make_claims.kept()
    assert {each.name for each in judged if not each.reduced} == {one["claim"] for one in full}
    assert make_claims.PAGE.read_text(encoding="utf-8") == page(judged, markdown=True), "run python tools/make_claims.py"


def test_the_page_of_streams_names_every_kind_disturbance_and_format():
    text = (ROOT / "docs" / "streams.md").read_text(encoding="utf-8")
    first = {row.split("|")[1].strip() for row in text.splitlines() if row.startswith("| `")}
    assert {f"`{kind}`" for kind in catalog.STREAMS} <= first
    tables = set(StreamConfig.model_fields) - {"kind", "tasks", "scenario"}
    assert {f"`[stream.{name}]`" for name in tables} <= first
    assert all(f"`{end}`" in text for end in sources.ENDS)
    assert all(key in text for key in Reading.model_fields)


PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "examples/README.md")] + sorted((ROOT / "docs").glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_mark_that_takes_in_a_file_is_one(page):
    """A formatter may take it for code."""
    marks = [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("--8")]
    taken = [re.fullmatch('--8<-- "(.+)"', line) for line in marks]
    assert all(mark is not None and (ROOT / mark[1]).is_file() for mark in taken), marks


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_file_that_a_page_names_is_there(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    named = re.findall(r"`((?:nlbench|tests|tools|examples|docs|baselines|tasks|\.ci)/[\w./-]*)`", text)
    assert [name for name in named if not (ROOT / name).exists()] == []
