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


def test_validate_checks_a_record(command: Command) -> None:
    run(command)
    assert command("validate", str(the_record())).out == f"{the_record()}: a record, no rule broken\n"
