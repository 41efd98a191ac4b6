"""Where a name leads: a path of this machine stays one, a URL has what nlbench uses of a path."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from nlbench.errors import NlbenchError
from nlbench.places import is_remote, place


def test_a_path_of_this_machine_is_a_path_and_imports_nothing_more():
    assert place("results/a.parquet") == Path("results/a.parquet")
    given = Path("results")
    assert place(given) is given
    code = "import sys\nfrom nlbench.places import place\nplace('results')\nprint(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"fsspec", "upath", "s3fs", "pyarrow"} & set(loaded)


def test_a_url_is_joined_and_named_like_a_path():
    folder = place("memory://results")
    assert is_remote(folder)
    assert place(folder) is folder
    record = folder / "a.b.parquet"
    assert (record.name, record.suffix, str(record)) == ("a.b.parquet", ".parquet", "memory://results/a.b.parquet")
    assert record.parent == folder
    assert not is_remote(Path("results"))


@pytest.mark.parametrize("name", [None, 3, b"results", "a\0b"])
def test_what_is_no_path_is_one_line(name):
    with pytest.raises(NlbenchError, match="must be the path of a folder or file") as caught:
        place(name)
    assert "\n" not in str(caught.value)


def test_a_kind_that_nothing_reads_names_the_extra():
    with pytest.raises(NlbenchError, match=r"nowhere://x: cannot be reached.*nlbench\[s3\]"):
        place("nowhere://x")
