"""What `nlbench prune` names, and deletes only where it is asked to."""

from __future__ import annotations

from pathlib import Path

from command_line import Command


def test_files_are_named_first_and_deleted_on_demand(command: Command) -> None:
    left = Path("results/.checkpoints/mlp.split-digits.0123.checkpoint")
    left.parent.mkdir(parents=True)
    left.touch()
    named = command("prune")
    assert (named.code, named.out) == (0, f"checkpoint  {left}\n")
    assert named.err.startswith("nothing was deleted; --delete does")
    assert left.exists()
    deleted = command("prune", "--delete")
    assert (deleted.out, deleted.err) == (f"deleted  {left}\n", "")
    assert not left.exists()
    assert command("prune").out == "nothing to prune\n"


def test_no_folder_is_one_line(command: Command) -> None:
    done = command("prune", "absent")
    assert (done.code, done.err) == (2, "nlbench: absent: is not a folder. Name a folder of records.\n")


def test_several_folders_are_named_as_other_commands_that_read_take_them(command: Command) -> None:
    left = [Path(folder, ".r.parquet.1.tmp") for folder in ("new", "old")]
    for path in left:
        path.parent.mkdir()
        path.touch()
    assert command("prune", "new/", "old").out == "".join(f"left over  {path}\n" for path in left)
