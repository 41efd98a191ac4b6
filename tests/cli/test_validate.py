"""What `nlbench validate` accepts, and every broken rule it names."""

from __future__ import annotations

from pathlib import Path

from command_line import Command, run, the_record


def test_validate_reports_every_broken_rule_of_every_file(command: Command) -> None:
    Path("s.toml").write_text('title = "t"\n[stream]\nkind = "split"\nsource = "mnits"\n[protocol]\nbatch = 0\npases = 2\n')
    Path("r.toml").write_text('titel = 1\n[learner]\nkind = "mlp"\nrate = "fast"\n')
    Path("good.toml").write_text('[learner]\nkind = "mlp"\n')
    done = command("validate", "s.toml", "r.toml", "good.toml")
    assert done.code == 2
    assert done.out == "good.toml: a learner, no rule broken\n"
    keys = [line.removeprefix("nlbench: ").split(": ")[:2] for line in done.err.splitlines()]
    assert sorted(map(tuple, keys)) == [
        ("r.toml", "learner.rate"),
        ("r.toml", "titel"),
        ("s.toml", "protocol.batch"),
        ("s.toml", "protocol.pases"),
        ("s.toml", "stream.source"),
        ("s.toml", "stream.tasks"),
    ]


def test_validate_opens_nothing_that_a_recipe_names_and_run_says_that_it_is_missing(command: Command) -> None:
    Path("mine.toml").write_text('[learner]\nkind = "./nofile.py:X"\n')
    assert command("validate", "mine.toml").code == 0
    done = run(command, model="mine.toml")
    assert done.code == 2
    assert "nofile.py: there is no such file." in done.err


def test_validate_and_run_agree_on_streams_a_recipe_may_name(command: Command) -> None:
    recipe = '[learner]\nkind = "mlp"\n[on."{}"]\nrate = 0.5\n'
    for own in ("own-stream", "split-digits-long", "rotated-digits"):
        Path("mine.toml").write_text(recipe.format(own))
        assert command("validate", "mine.toml").code == 0
        assert run(command, "--dry-run", model="mine.toml").code == 0
    for mistyped in ("split-digit", "split-dgits", "permuted-minst"):
        Path("mine.toml").write_text(recipe.format(mistyped))
        for done in (command("validate", "mine.toml"), run(command, "--dry-run", model="mine.toml")):
            assert done.code == 2
            assert done.err.startswith(f'nlbench: mine.toml: on."{mistyped}": unknown stream {mistyped!r}. Did you mean ')


GRID = 'models = ["mlp", "./my_network.py:Network"]\nstreams = ["split-digits@1", "./mine.csv"]\n[set]\nprotocol.passes = 2\n'
CLAIM = """
title = "t"
statement = "s"
source.paper = "p"
cells.one = { model = "mlp", stream = "split-digits" }
holds = [{ kind = "value", of = "one", equals = 0.5, band = 0.1 }]
"""
STREAM = 'title = "t"\n[stream]\nkind = "split"\nsource = "digits"\ntasks = 5\n[protocol]\nbatch = 16\n'


def test_what_a_file_declares_is_told_by_its_tables_and_a_folder_stands_for_all_in_it(command: Command) -> None:
    folder = Path("mine")
    folder.mkdir()
    for name, text in {"claim": CLAIM, "grid": GRID, "recipe": '[learner]\nkind = "mlp"\n', "stream": STREAM}.items():
        (folder / f"{name}.toml").write_text(text)
    (folder / "pyproject.toml").write_text('[project]\nname = "x"\n')
    done = command("validate", "mine")
    kinds = {"claim": "claim", "grid": "grid", "recipe": "learner", "stream": "stream"}
    assert (done.code, done.err) == (0, "")
    assert done.out == "".join(f"mine/{name}.toml: a {kind}, no rule broken\n" for name, kind in kinds.items())


def test_what_a_grid_and_a_claim_break_is_said_as_of_these(command: Command) -> None:
    Path("grid.toml").write_text(GRID.replace("mlp", "mpl").replace("passes", "pases"))
    Path("claim.toml").write_text(CLAIM.replace("split-digits", "split-digit"))
    terms = CLAIM.replace('"split-digits" }', '"split-digits", set = { "learner.rate" = -1 } }')
    Path("terms.toml").write_text(terms)
    Path("own.toml").write_text(CLAIM.replace('"mlp"', '"./nofile.py:X"'))
    assert command("validate", "own.toml").code == 0
    Path("deep.toml").write_text(GRID.replace("streams", "seeds = 0\nstreams"))
    Path("bare.toml").write_text('statement = "s"\n')
    Path("other.toml").write_text('titel = "x"\n[lerner]\nkind = "mlp"\n')
    Path("empty").mkdir()
    assert "bare.toml: cells: is required" in command("validate", "bare.toml").err
    done = command("validate", "grid.toml", "claim.toml", "terms.toml", "deep.toml", "other.toml", "empty")
    assert done.code == 2
    assert [line.removeprefix("nlbench: ").partition(" Did you")[0] for line in done.err.splitlines()] == [
        "grid.toml: unknown model 'mpl'.",
        "claim.toml: unknown stream 'split-digit'.",
        "terms.toml: cells.one.set.learner.rate: must be greater than 0, got -1",
        "deep.toml: seeds: must be how many seeds, at least 1, or a list of seeds, each at least 0, got 0",
        "other.toml: must say stream, learner, cells or models, as a stream, a recipe, a claim or a grid does "
        "(did you mean learner?), got ['titel', 'lerner']",
        "empty: holds no .toml and no .parquet file",
    ]


def test_validate_checks_a_record(command: Command) -> None:
    run(command)
    assert command("validate", str(the_record())).out == f"{the_record()}: a record, no rule broken\n"
