"""What `nlbench list` lists."""

from __future__ import annotations

from command_line import Command, run, the_record


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
