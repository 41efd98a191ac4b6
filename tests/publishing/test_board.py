"""Which records count, and which belong together."""

from __future__ import annotations

from nlbench.publishing.board import board


def test_a_record_of_the_same_declaration_leaves_the_older_one_to_history(records):
    made = board(records)
    (split,) = [group for group in made.comparison.groups if group.stream == "split-digits"]
    assert sorted(entry.label for entry in split.entries) == ["chance", "er", "joint", "mlp"]
    old, new = (next(item for item in made.items if item.record.path.stem == name) for name in ("er-old", "er-new"))
    assert (old.current, new.current) == (False, True)
    assert made.history(old) == made.history(new) == (old, new)
    assert old.stream == new.stream == "split-digits"
    assert made.of(split)["er"] is new


def test_a_commit_says_whether_the_tree_was_clean(records):
    commits = {item.record.path.stem: item.commit for item in board(records).items}
    assert commits["er-old"] == "0ld0ld0ld0ld"
    assert commits["er-new"] == "4ew4ew4ew4ew+"
    assert commits["mlp"] == ""


def test_files_have_names_of_their_own_that_stay_in_their_folder(records):
    names = [item.name for item in board(records).items]
    assert len({name.casefold() for name in names}) == len(names) == 6
    assert all("/" not in name and ".." not in name and "<" not in name for name in names)
