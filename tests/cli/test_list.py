"""What `nlbench list` lists."""

from __future__ import annotations

from importlib.metadata import EntryPoint, EntryPoints

import pytest
from command_line import Command, run, the_record

from nlbench import catalog


def test_list_shows_models_streams_metrics_and_records(command: Command) -> None:
    everything = command("list")
    assert everything.code == 0
    for part in ("mlp", "split-digits", "backward_transfer", "no records in results yet"):
        assert part in everything.out
    assert "split-digits" not in command("list", "models").out
    assert "mlp " not in command("list", "streams").out
    run(command)
    listed = command("list", "records").out
    assert the_record().name in listed
    assert "mlp" in listed


def test_list_shows_kinds_of_learners_networks_data_sets_and_streams_and_what_is_registered(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    point = EntryPoint("mine", "nowhere:Mine", "nlbench.networks")
    monkeypatch.setattr(catalog, "entry_points", lambda: EntryPoints([point]))
    lines = command("list", "extensions").out.splitlines()
    for group, title in (("learners", "learners"), ("networks", "networks"), ("streams", "kinds of streams")):
        (line,) = [line for line in lines if line.startswith(title)]
        assert line.removeprefix(title).strip() == ", ".join(catalog.extensions(group))
    assert "mine" in catalog.extensions("networks")


def test_what_cannot_be_listed_names_the_nearest_or_all_that_can(command: Command) -> None:
    wrong = command("list", "model")
    assert (wrong.code, wrong.err) == (2, "nlbench: unknown kind of list 'model'. Did you mean models?\n")
    known = "all, claims, extensions, metrics, models, records, streams"
    assert command("list", "foo").err == f"nlbench: unknown kind of list 'foo'. Known: {known}.\n"
