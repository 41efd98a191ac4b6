from __future__ import annotations

from pathlib import Path

import pytest
from small_streams import small_stream

from nlbench.api import look


def test_a_stream_of_the_catalog_or_of_arrays_is_looked_at_and_drawn(tmp_path: Path) -> None:
    found = look("split-digits", figures=tmp_path)
    assert [task.labels for task in found.tasks] == [(0, 1), (2, 3), (4, 5), (6, 7), (8, 9)]
    assert (tmp_path / "split-digits.samples.png").stat().st_size > 1000
    assert look(small_stream()).tasks[0].samples is None


def test_the_labels_of_a_file_are_called_as_it_calls_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, words in (("words", ("flu", "cold", "none")), ("numbers", (0, 1, 2)), ("odd", (7, 10, 30))):
        Path(f"{name}.csv").write_text("x,label\n" + "".join(f"{i / 7},{words[i % 3]}\n" for i in range(30)))
        Path(f"{name}.toml").write_text(
            f'title = "t"\n[stream]\nkind = "split"\nsource = "./{name}.csv"\ntasks = 3\n[protocol]\nbatch = 4\n'
        )
    names = [look(f"./{name}.toml").label_names for name in ("words", "numbers", "odd")]
    assert names == [("cold", "flu", "none"), (), ("7", "10", "30")]


@pytest.mark.parametrize(
    ("table", "names"),
    [
        ('kind = "split"\nclass_order = [2, 0, 1]', ("none", "cold", "flu")),
        ('kind = "split"\nclass_order = [2, 0, 1]\nscenario = "task-il"', ("none", "cold", "flu")),
        ('kind = "split"\nscenario = "domain-il"', ()),
        ('kind = "relabelled"', ()),
        ('kind = "permuted"', ("cold", "flu", "none")),
        ('kind = "instances"\nscenario = "class-il"', ("cold", "flu", "none") * 3),
    ],
)
def test_a_name_stands_by_the_label_that_a_learner_is_given(
    table: str, names: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ("flu", "cold", "none")
    Path("a.csv").write_text("x,y,label\n" + "".join(f"{i / 7},{i % 5},{words[i % 3]}\n" for i in range(60)))
    Path("a.toml").write_text(f'title = "t"\n[stream]\nsource = "./a.csv"\ntasks = 3\n{table}\n[protocol]\nbatch = 4\n')
    found = look("./a.toml")
    assert found.label_names == names
    assert not names or len(names) == found.n_classes
