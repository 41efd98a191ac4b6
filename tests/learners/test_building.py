from __future__ import annotations

import sys
from dataclasses import replace
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest
from small_streams import CPU

from nlbench import Learner, NlbenchError, Problem, catalog
from nlbench.errors import BackendError, SpecError, UnknownNameError
from nlbench.learners.adapter import EachSeed
from nlbench.learners.building import build, find
from nlbench.learners.external import External
from nlbench.plan import resolve
from nlbench.specs import ExternalConfig

PROBLEM = Problem((4,), 3, (0, 1), "class-il", CPU, "auto", 1000)

FILE = """
from __future__ import annotations

from dataclasses import dataclass

from nlbench import Learner


@dataclass
class Settings:
    rate: float = 0.1


class Mine(Learner):
    def __init__(self, config, problem):
        self.config = config

    def observe(self, batch):
        return batch.labels.new_zeros(len(batch.labels))

    def predict(self, inputs, task):
        return inputs


class Single(Mine):
    single_seed = True


class NotALearner:
    pass
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "my_learner.py").write_text(FILE)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "my_learner.py"


@pytest.mark.parametrize("kind", catalog.LEARNERS)
def test_every_built_in_kind_is_built_from_its_own_config(kind: str) -> None:
    told = "task-il" if "task" in catalog.needs(kind) else PROBLEM.scenario
    made = build(catalog.config("learners", kind).model_validate({"kind": kind}), replace(PROBLEM, scenario=told))
    assert isinstance(made, EachSeed | External) == find(kind).outside
    while isinstance(made, EachSeed | External):
        made = made.inner[0] if isinstance(made, EachSeed) else made.learner
    assert type(made) is find(kind)


@pytest.mark.parametrize("kind", [kind for kind in catalog.LEARNERS if "bf16" not in find(kind).precisions])
def test_a_learner_without_products_in_bf16_refuses_and_says_who_has_them(kind: str) -> None:
    asked = replace(PROBLEM, precision="bf16")
    with pytest.raises(BackendError, match=f"learner '{kind}' has no products in bf16: it declares float32.*: mlp"):
        build(catalog.config("learners", kind).model_validate({"kind": kind}), asked)


def test_a_class_of_a_file_may_declare_bf16(file: Path) -> None:
    asked = replace(PROBLEM, precision="bf16")
    with pytest.raises(BackendError, match=r"learner './my_learner\.py:Mine' has no products in bf16"):
        build(ExternalConfig(kind="./my_learner.py:Mine"), asked)
    file.write_text(FILE.replace("class Mine(Learner):", 'class Mine(Learner):\n    precisions = ("float32", "bf16")\n'))
    assert isinstance(build(ExternalConfig(kind="./my_learner.py:Mine"), asked), External)


@pytest.mark.usefixtures("file")
def test_a_class_of_a_file_gets_its_options_as_a_dict() -> None:
    made = build(ExternalConfig(kind="./my_learner.py:Mine", options={"rate": 0.5}), PROBLEM)
    assert isinstance(made, External)
    assert (type(made.learner).__name__, made.learner.config) == ("Mine", {"rate": 0.5})


def test_a_file_may_be_named_by_an_absolute_path(file: Path) -> None:
    assert find(f"{file}:Mine").__name__ == "Mine"


def test_a_class_with_a_config_gets_it_checked_and_filled_in(file: Path) -> None:
    config = "    class Config(Closed):\n        rate: float = 0.1\n        width: int = 8\n"
    text = FILE.replace("class Mine(Learner):", f"from nlbench.specs import Closed\n\n\nclass Mine(Learner):\n{config}")
    file.write_text(text)
    made = build(ExternalConfig(kind="./my_learner.py:Mine", options={"rate": 0.5}), PROBLEM)
    assert isinstance(made, External)
    assert (made.learner.config.rate, made.learner.config.width) == (0.5, 8)
    with pytest.raises(SpecError) as caught:
        build(ExternalConfig(kind="./my_learner.py:Mine", options={"rat": 0.5, "width": "8"}), PROBLEM)
    assert caught.value.problems == (
        "./my_learner.py:Mine: width: must be a valid integer, got '8'",
        "./my_learner.py:Mine: rat: is not a known key (did you mean rate?), got 0.5",
    )


@pytest.mark.usefixtures("file")
def test_a_single_seed_class_is_looped() -> None:
    made = build(ExternalConfig(kind="./my_learner.py:Single"), PROBLEM)
    assert isinstance(made, EachSeed)


def test_a_file_named_like_a_module_does_not_replace_it(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text(FILE)
    before = sys.modules["json"]
    assert find(f"{tmp_path}/json.py:Mine").__name__ == "Mine"
    assert sys.modules["json"] is before


@pytest.mark.usefixtures("file")
@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("./gone.py:Mine", "gone.py: there is no such file. Name a learner as ./file.py:Name."),
        ("./my_learner.py:Mien", "unknown learner in ./my_learner.py 'Mien'. Did you mean Mine?"),
        ("./my_learner.py:NotALearner", "./my_learner.py:NotALearner: must be a subclass of nlbench.Learner, got <class"),
        ("no_such_package.module:X", "no_such_package.module: there is no such module. Name a learner as package.module:Name."),
        ("json:X", "unknown learner in json 'X'."),
        ("mine", "unknown learner 'mine'."),
    ],
)
def test_what_is_not_there_is_one_line(kind: str, line: str) -> None:
    with pytest.raises(NlbenchError) as caught:
        find(kind)
    assert str(caught.value).startswith(line)


@pytest.mark.parametrize(
    ("name", "recipe"),
    [
        ("Plain", "kind = 'naive' with network = { kind = 'module', build = './file.py:Plain' }"),
        ("Estimating", "kind = 'estimator' with build = './file.py:Estimating'"),
    ],
)
def test_what_is_no_learner_is_told_the_recipe_that_runs_it(
    name: str, recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file.py").write_text(
        "from sklearn.naive_bayes import GaussianNB as Estimating\nfrom torch import nn\n"
        "class Plain(nn.Linear):\n    def __init__(self, n_classes):\n        super().__init__(4, n_classes)\n"
    )
    with pytest.raises(NlbenchError) as caught:
        find(f"./file.py:{name}")
    assert recipe in caught.value.hint
    rows = recipe.replace(" with ", "\n")
    Path("mine.toml").write_text(f"title = 'Mine'\nbatch = 16\n[learner]\n{rows}\n")
    made = build(resolve("./mine.toml", "split-digits", seeds=(0,)).learner.learner, PROBLEM)
    assert isinstance(made, Learner)


def test_a_package_and_a_registered_entry_point_are_found(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find("nlbench.learners.mlp:Mlp") is find("mlp")
    monkeypatch.syspath_prepend(file.parent)
    point = EntryPoint("xylophone", "my_learner:Mine", "nlbench.learners")
    monkeypatch.setattr(catalog, "entry_points", lambda: EntryPoints([point]))
    assert (find("xylophone").__module__, find("xylophone").__name__) == ("my_learner", "Mine")
    with pytest.raises(UnknownNameError, match=r"unknown learner 'xylophon'. Did you mean xylophone\?"):
        find("xylophon")


def test_the_base_class_itself_is_a_learner_only_in_form() -> None:
    with pytest.raises(NlbenchError, match="nlbench:Learner must define the method observe"):
        build(ExternalConfig(kind="nlbench:Learner"), PROBLEM)
    assert find("nlbench:Learner") is Learner
