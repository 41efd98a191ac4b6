from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import torchvision
from sklearn.datasets import load_digits
from small_streams import idx_bytes, made_mnist

from nlbench import sources
from nlbench.errors import DataError
from nlbench.specs import SOURCES


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: object, *args: object, **options: object) -> None:
        raise OSError("<urlopen error [Errno -3] Temporary failure in name resolution>")

    monkeypatch.setattr(torchvision.datasets.MNIST, "__init__", refuse)
    monkeypatch.setattr(torchvision.datasets.FashionMNIST, "__init__", refuse)


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(SOURCES, "mnist", made_mnist(tmp_path / "data"))
    return tmp_path / "data"


def test_digits_are_scikit_learns_split_once_and_for_all() -> None:
    expected, arrays = load_digits(), sources.load("digits")
    counts = np.bincount(expected.target)
    assert np.bincount(arrays.test_labels).tolist() == [round(0.2 * count) for count in counts]
    assert len(arrays.train_labels) + len(arrays.test_labels) == 1797

    def rows(inputs: np.ndarray, labels: np.ndarray) -> list[bytes]:
        return sorted(
            np.concatenate([np.float32(x).ravel(), [y]]).astype(np.float32).tobytes() for x, y in zip(inputs, labels, strict=True)
        )

    together = (
        np.concatenate([arrays.train_inputs, arrays.test_inputs]),
        np.concatenate([arrays.train_labels, arrays.test_labels]),
    )
    assert rows(*together) == rows(expected.images / 16, expected.target)
    again = sources.load("digits")
    assert np.array_equal(again.test_inputs, arrays.test_inputs)


def test_constants_of_digits_standardise_the_training_set() -> None:
    train = sources.load("digits").train_inputs.astype(np.float64)
    assert train.mean() == pytest.approx(SOURCES["digits"].mean, abs=1e-9)
    assert train.std() == pytest.approx(SOURCES["digits"].std, abs=1e-9)


@pytest.mark.mnist
def test_canonical_mnist_loads_and_its_constants_standardise_the_training_set() -> None:
    arrays = sources.load("mnist")
    assert arrays.train_inputs.shape == (60000, 1, 28, 28)
    assert arrays.test_inputs.shape == (10000, 1, 28, 28)
    assert np.bincount(arrays.train_labels).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert arrays.train_inputs.mean(dtype=np.float64) == pytest.approx(SOURCES["mnist"].mean, abs=1e-7)
    assert arrays.train_inputs.std(dtype=np.float64) == pytest.approx(SOURCES["mnist"].std, abs=1e-7)


def test_packed_and_raw_files_give_the_same_arrays(made: Path, tmp_path: Path) -> None:
    made_mnist(tmp_path / "packed", packed=True)
    raw, packed = sources.load("mnist", made), sources.load("mnist", tmp_path / "packed")
    assert raw.train_inputs.shape == (300, 1, 6, 6)
    assert raw.train_inputs.dtype == np.float32
    assert raw.train_inputs.min() >= 0.0
    assert raw.train_inputs.max() == 1.0
    assert raw.test_labels.tolist() == [i % 10 for i in range(100)]
    for part in ("train_inputs", "train_labels", "test_inputs", "test_labels"):
        assert np.array_equal(getattr(raw, part), getattr(packed, part))


def test_pixels_come_out_in_the_order_of_the_file(made: Path) -> None:
    content = (made / "MNIST/raw/train-images-idx3-ubyte").read_bytes()[16:]
    assert np.array_equal(np.round(sources.load("mnist", made).train_inputs * 255).astype(np.uint8).tobytes(), content)


def test_folders_are_searched_in_order(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NLBENCH_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert sources.folders(None) == [tmp_path / "cache/nlbench"]
    assert sources.folders(made) == [made]
    monkeypatch.setenv("NLBENCH_DATA", str(made))
    assert sources.folders(None) == [made, tmp_path / "cache/nlbench"]
    assert set(sources.verify("mnist")) == set(SOURCES["mnist"].files)
    monkeypatch.setenv("NLBENCH_DATA", str(tmp_path / "empty"))
    made.rename(tmp_path / "moved")
    (tmp_path / "cache/nlbench").parent.mkdir(parents=True)
    (tmp_path / "moved").rename(tmp_path / "cache/nlbench")
    assert next(iter(sources.verify("mnist").values())).is_relative_to(tmp_path / "cache/nlbench")


@pytest.mark.parametrize("packed", [False, True])
def test_a_file_with_another_checksum_is_named(packed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SOURCES, "mnist", made_mnist(tmp_path, packed=packed))
    path = tmp_path / "MNIST/raw" / f"t10k-labels-idx1-ubyte{'.gz' if packed else ''}"
    content = idx_bytes(np.zeros(100))
    path.write_bytes(gzip.compress(content) if packed else content)
    for read in (sources.load, sources.verify, sources.fetch):
        with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte.*SHA-256 must be .*got .*nlbench data fetch"):
            read("mnist", tmp_path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda content: b"junk",
        lambda content: content[:30] + b"\xff" * 40 + content[70:],
    ],
)
def test_a_damaged_packed_file_is_named(damage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SOURCES, "mnist", made_mnist(tmp_path, packed=True))
    path = tmp_path / "MNIST/raw/train-images-idx3-ubyte.gz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte.gz: (cannot be read|SHA-256 must)"):
        sources.load("mnist", tmp_path)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_missing_data_without_network_is_one_line_with_both_ways_out(name: str, tmp_path: Path) -> None:
    for read in (sources.load, sources.fetch):
        with pytest.raises(DataError) as caught:
            read(name, tmp_path)
        text = str(caught.value)
        assert "\n" not in text
        assert text.startswith(f"{name}: not found in {tmp_path / SOURCES[name].folder}")
        assert "downloading it failed (<urlopen error" in text
        assert all(way in text for way in ("--data", "NLBENCH_DATA", f"nlbench data fetch {name}"))


@pytest.mark.parametrize("failure", [RuntimeError(""), TimeoutError()])
def test_a_download_that_fails_without_a_word_is_still_one_line(
    failure: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: object, *args: object, **options: object) -> None:
        raise failure

    monkeypatch.setattr(torchvision.datasets.MNIST, "__init__", fail)
    with pytest.raises(DataError, match=f"downloading it failed .{type(failure).__name__}"):
        sources.load("mnist", tmp_path)


def test_verify_never_downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision.datasets.MNIST, "__init__", lambda *args, **options: pytest.fail("tried to download"))
    with pytest.raises(DataError, match="mnist: not found in"):
        sources.verify("mnist", tmp_path)


def test_a_download_goes_to_the_first_folder_and_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def deliver(self: object, root: str, download: bool) -> None:
        asked.append((root, download))
        made_mnist(Path(root))

    monkeypatch.setitem(SOURCES, "mnist", made_mnist(tmp_path / "elsewhere"))
    monkeypatch.setattr(torchvision.datasets.MNIST, "__init__", deliver)
    assert len(sources.fetch("mnist", tmp_path / "new")) == 4
    assert len(sources.load("mnist", tmp_path / "new").train_labels) == 300
    assert asked == [(str(tmp_path / "new"), True)]


def test_what_is_read_ahead_is_read_once_and_given_once(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = sources.load("mnist", made)
    read: list[str] = []
    monkeypatch.setattr(
        sources, "_mnist_like", lambda name, data, real=sources._mnist_like: (read.append(name), real(name, data))[1]
    )
    with sources.read_ahead("mnist", made):
        given = sources.load("mnist", made)
    assert read == ["mnist"]
    np.testing.assert_array_equal(given.train_inputs, expected.train_inputs)
    sources.load("mnist", made)
    assert read == ["mnist", "mnist"]


def test_what_is_wrong_with_data_read_ahead_is_said_when_it_is_loaded(made: Path, tmp_path: Path, no_network: None) -> None:
    with sources.read_ahead("mnist", tmp_path / "nowhere"), pytest.raises(DataError, match="not found"):
        sources.load("mnist", tmp_path / "nowhere")
    file = next(path for path in made.rglob("*") if path.is_file())
    file.write_bytes(file.read_bytes()[:-1])
    with sources.read_ahead("mnist", made), pytest.raises(DataError, match=file.name):
        sources.load("mnist", made)


def test_what_was_read_ahead_and_not_loaded_is_forgotten(made: Path) -> None:
    file = next(path for path in made.rglob("*") if path.is_file())
    content = file.read_bytes()
    file.write_bytes(content[:-1])
    with sources.read_ahead("mnist", made):
        pass
    file.write_bytes(content)
    sources.load("mnist", made)
