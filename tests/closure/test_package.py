"""What of the package a module reaches."""

from __future__ import annotations

from pathlib import Path

import pytest

from nlbench.closure.kept import SyntaxCache
from nlbench.closure.package import Package
from nlbench.closure.syntax import Import

FILES = {
    "__init__.py": '_PLACES = {"Public": "inner.deep"}\ndef __getattr__(name): ...',
    "root.py": "from house import errors, kernels\nfrom house.names import taken\ndef f():\n    from .inner import late",
    "errors.py": "class E: ...",
    "names/__init__.py": "from house.names.one import taken\nfrom house.names.two import left",
    "names/one.py": "taken = 1",
    "names/two.py": "left = 1",
    "inner/__init__.py": "SETTING = 1",
    "inner/late.py": "from ..errors import E\nfrom . import beside",
    "inner/beside.py": "x = 1",
    "inner/deep.py": "if TYPE_CHECKING:\n    import house.unreached",
    "kernels/__init__.py": "",
    "kernels/op/__init__.py": "from house.kernels.tiles import tile\ndef run(): ...",
    "kernels/op/reference.py": "x = 1",
    "kernels/op/_numba.py": "from house.kernels.fast import quick",
    "kernels/tiles.py": "tile = 1",
    "kernels/fast.py": "quick = 1",
    "kernels/other/__init__.py": "from .reference import x",
    "kernels/other/_triton.py": "x = 1",
    "kernels/other/reference.py": "x = 1",
    "learner.py": "from house.kernels.op import run",
    "another.py": "from house.kernels.other import x",
    "unreached.py": "x = 1",
    "everything.py": "from house import names",
    "public.py": "from house import Public\nimport house",
    "wide/config.py": "from house.errors import E\nfrom house import unreached as un\nRATE = 1\n"
    "class A:\n    rate = RATE\n    def f(self): raise E\nclass B(A): pass\nclass C:\n    x = un\n",
    "wide/does.py": "from house.wide.config import B",
    "wide/takes.py": "from house.wide import config",
    "catalog.py": "ROWS = {'a': 'house.unreached:X'}",
    "looks_up.py": "from house import catalog",
    "circle_a.py": "import house.circle_b",
    "circle_b.py": "import house.circle_a",
}


@pytest.fixture
def house(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / "house" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "house"


def package(house: Path) -> Package:
    return Package(house, SyntaxCache(house.parent / "cache"))


def reached(house: Path, *roots: str) -> set[str]:
    return {name.removeprefix("house.") for name in package(house).reached([f"house.{root}" for root in roots])}


def test_imports_are_followed_wherever_they_stand_and_what_they_pass_on_the_way_counts(house: Path) -> None:
    assert reached(house, "root") == {"root", "errors", "names.one", "inner", "inner.late", "inner.beside"}


def test_a_name_from_a_table_leads_to_its_own_module_and_the_table_to_all(house: Path) -> None:
    assert "names.two" not in reached(house, "root")
    assert reached(house, "everything") == {"everything", "names.one", "names.two"}


def test_the_package_s_own_table_is_for_users_but_a_name_from_it_counts(house: Path) -> None:
    assert reached(house, "public") == {"public", "inner", "inner.deep"}


def test_what_reaches_an_op_reaches_all_of_its_backends_and_no_other_op(house: Path) -> None:
    op = {"kernels.op", "kernels.op.reference", "kernels.op._numba", "kernels.tiles", "kernels.fast"}
    assert reached(house, "learner") == {"learner", *op}
    assert reached(house, "another") == {"another", "kernels.other.reference", "kernels.other._triton"}


def test_of_a_module_that_tells_its_parts_apart_a_name_counts_with_what_it_uses(house: Path) -> None:
    names = {"wide.config:B", "wide.config:A", "wide.config:RATE", "wide.config:E", "errors"}
    assert reached(house, "wide.does") == {"wide.does", *names}
    assert reached(house, "wide.config:A") == names - {"wide.config:B"}
    assert reached(house, "wide.takes") == {"wide.takes", "wide.config", "errors", "unreached"}
    before = package(house).reached(["house.wide.does"])
    with (house / "wide" / "config.py").open("a") as file:
        file.write("class D:\n    y = 1\n")
    assert package(house).reached(["house.wide.does"]) == before
    text = (house / "wide" / "config.py").read_text().replace("RATE = 1", "RATE = 2")
    (house / "wide" / "config.py").write_text(text)
    assert package(house).reached(["house.wide.does"]) != before
    with (house / "wide" / "config.py").open("a") as file:
        file.write("B.x = 1\n")  # it does more than define, so all of it counts
    assert reached(house, "wide.does") == {"wide.does", "wide.config", "errors", "unreached"}


def test_what_only_names_places_does_not_count(house: Path) -> None:
    assert reached(house, "looks_up") == {"looks_up"}


def test_circles_end_and_what_is_no_module_reaches_nothing(house: Path) -> None:
    assert reached(house, "circle_a") == {"circle_a", "circle_b"}
    assert reached(house, "nowhere", "inner.deep") == {"inner", "inner.deep"}


def test_a_statement_outside_the_package_leads_into_it(house: Path) -> None:
    here = package(house)
    assert here.named(Import(0, "house.names", ("left",))) == ["house.names.two"]
    assert here.named(Import(0, "house", ("Public",))) == ["house.inner.deep"]
    assert here.named(Import(0, "house.inner.late")) == ["house.inner.late"]
    assert not here.holds("houses.inner")


def test_digests_are_those_of_what_the_modules_say(house: Path) -> None:
    before = package(house).reached(["house.root"])
    with (house / "errors.py").open("a") as file:
        file.write("\n# a comment\n")
    assert package(house).reached(["house.root"]) == before
    with (house / "errors.py").open("a") as file:
        file.write("x = 1\n")
    after = package(house).reached(["house.root"])
    assert {name for name in after if after[name] != before[name]} == {"house.errors"}
