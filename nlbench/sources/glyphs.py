"""Letters drawn from fonts: scripts as classes, or fonts as domains.

The fonts are DejaVu 2.37, which come with matplotlib. FreeType draws them, and may draw them otherwise in another version: its
version and Pillow's are part of what identifies the images.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from nlbench.seeds import FIXED, generator
from nlbench.sources.derived import kept
from nlbench.sources.downloads import Wheel
from nlbench.sources.source import TEST_SHARE, Arrays, Source
from nlbench.specs import digest

SIDE: Final = 28
"""Height and width of an image."""

Drawn = tuple[str, str, int]
"""A font's file, a letter and the label."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Glyphs(Source):
    """White letters on black, each in a size, at a place and turned as its own draw says.

    copies    images of one letter in one font, the last fifth of which are of the test set
    sizes     of a font, in pixels from least to most
    degrees   how far a letter is turned at most, either way
    """

    copies: int
    sizes: tuple[int, int] = (16, 24)
    degrees: float = 12.0

    @property
    def checksum(self) -> str:
        """A digest of the fonts, of how letters are drawn, and of the programs that draw them."""
        return digest({"files": dict(self.files), **self._drawing()})

    def read(self, data: Path | None = None) -> Arrays:
        fonts = self.contents(data)
        facts = {"checksum": self.checksum, "code": sha256(Path(__file__).read_bytes()).hexdigest()}
        made = kept(facts, lambda: self._images(fonts))
        images, labels = made["images"], made["labels"]
        test = np.arange(len(labels)) % self.copies >= self.copies - round(TEST_SHARE * self.copies)
        inputs = np.multiply(images, np.float32(1 / 255), dtype=np.float32)[:, None]
        return Arrays(inputs[~test], labels[~test], inputs[test], labels[test])

    def letters(self, fonts: Mapping[str, bytes]) -> Iterator[Drawn]:
        """Yield what is drawn, `copies` times each."""
        raise NotImplementedError

    def _drawing(self) -> dict[str, Any]:
        from PIL import features

        programs = {"pillow": version("pillow"), "freetype": features.version_module("freetype2")}
        return {"name": self.name, "copies": self.copies, "sizes": self.sizes, "degrees": self.degrees, **programs}

    def _images(self, fonts: Mapping[str, bytes]) -> dict[str, NDArray[Any]]:
        drawn = list(self.letters(fonts))
        n = len(drawn) * self.copies
        draw = {name: generator(FIXED, f"{self.name}/{name}") for name in ("size", "place", "angle")}
        sizes = draw["size"].integers(self.sizes[0], self.sizes[1] + 1, n).tolist()
        places = draw["place"].random((n, 2)).tolist()
        angles = (self.degrees * (2 * draw["angle"].random(n) - 1)).tolist()
        images = np.empty((n, SIDE, SIDE), np.uint8)
        pens: dict[tuple[str, int], Any] = {}
        for row in range(n):
            file, letter, _ = drawn[row // self.copies]
            if (file, sizes[row]) not in pens:
                pens[file, sizes[row]] = _pen(fonts[file], sizes[row])
            images[row] = _image(pens[file, sizes[row]], letter, places[row], angles[row])
        labels = np.array([label for *_, label in drawn]).repeat(self.copies)
        return {"images": images, "labels": labels}


@dataclass(frozen=True, kw_only=True, eq=False)
class Scripts(Glyphs):
    """The class is the script.

    scripts       each by the words that begin the names of its letters in Unicode
    letters_each  letters of a script, drawn from those that all fonts have
    """

    scripts: tuple[str, ...]
    letters_each: int

    def letters(self, fonts: Mapping[str, bytes]) -> Iterator[Drawn]:
        held = set.intersection(*(_characters(font) for font in fonts.values()))
        for label, script in enumerate(self.scripts):
            own = sorted(letter for letter in held if unicodedata.name(letter, "").startswith(script))
            chosen = generator(FIXED, f"{self.name}/{script}").permutation(len(own))[: self.letters_each]
            for index in chosen.tolist():
                yield from ((file, own[index], label) for file in fonts)


@dataclass(frozen=True, kw_only=True, eq=False)
class Fonts(Glyphs):
    """The class is a letter of a font, fonts one after another: as many tasks as fonts, labels shared, make fonts the domains."""

    alphabet: str

    def letters(self, fonts: Mapping[str, bytes]) -> Iterator[Drawn]:
        for place, file in enumerate(fonts):
            for index, letter in enumerate(self.alphabet):
                yield file, letter, place * len(self.alphabet) + index


def _characters(font: bytes) -> set[str]:
    """Return the letters that a font can draw."""
    from fontTools.ttLib import TTFont

    characters = map(chr, TTFont(BytesIO(font), lazy=True).getBestCmap())
    return {one for one in characters if unicodedata.category(one)[0] == "L"}


def _pen(font: bytes, size: int) -> Any:
    from PIL import ImageFont

    return ImageFont.truetype(BytesIO(font), size, layout_engine=ImageFont.Layout.BASIC)


def _image(pen: Any, letter: str, place: tuple[float, float], degrees: float) -> NDArray[np.uint8]:
    """Return (SIDE, SIDE): a letter wholly inside where it fits, turned about the middle."""
    from PIL import Image, ImageDraw

    left, top, right, bottom = pen.getbbox(letter)
    canvas = Image.new("L", (SIDE, SIDE))
    corner = (
        round(place[0] * (SIDE - right + left)) - left,
        round(place[1] * (SIDE - bottom + top)) - top,
    )
    ImageDraw.Draw(canvas).text(corner, letter, fill=255, font=pen)
    return np.asarray(canvas.rotate(degrees, Image.Resampling.BILINEAR))


_SUMS: Final = {
    "DejaVuSans.ttf": "3fdf69cabf06049ea70a00b5919340e2ce1e6d02b0cc3c4b44fb6801bd1e0d22",
    "DejaVuSans-Bold.ttf": "b184b89e3c1075f22f6b71575b6fc20d4972b3cfd3b23322ca6fd596dcaef167",
    "DejaVuSans-Oblique.ttf": "ccdf74b350f11fd3dd5774de50e5e6346a1a5da1f5b7d5fb83590665e97a5213",
    "DejaVuSerif.ttf": "107244956e9962b9e96faccdc551825e0ae0898ae13737133e1b921a2fd35ffa",
    "DejaVuSerif-Bold.ttf": "c3753f2ed6bc673f15846dc45addbeb3b9c872f32fb18fd53a21f1bef1ed7676",
    "DejaVuSerif-Italic.ttf": "3e7994fbc54fa10ce3352a42d548fadd7d9cadb69cb1109bc9d960f6dac57f04",
    "DejaVuSansMono.ttf": "602ec86b8948cfcd956482fe64f94c36c867770149ef2f791d4613f443bcecb3",
    "DejaVuSansMono-Bold.ttf": "baada9a5172fe20886251aff0433fc38461912d5daf07287e7bee56620a8da96",
    "DejaVuSansMono-Oblique.ttf": "28052813f7a709fc89f52d192dc995ef4f0fdc5c3d7b73a49d6849b1916d0cd0",
    "DejaVuSerif-BoldItalic.ttf": "d93efec7a9d2e826768d1a2ee95b95870e15e29599a84f3484af1de1cec2e181",
}
_ORIGIN: Final = "DejaVu fonts 2.37, dejavu-fonts.github.io, as matplotlib has them; letters drawn here"
_LICENCE: Final = "Bitstream Vera and public domain"


def _fonts(*names: str) -> tuple[dict[str, str], tuple[Wheel]]:
    """Return fonts with their checksums, and the wheel that holds them."""
    files = {f"DejaVu{name}.ttf": _SUMS[f"DejaVu{name}.ttf"] for name in names}
    return files, (Wheel("matplotlib", "3.10.0", {file: f"matplotlib/mpl-data/fonts/ttf/{file}" for file in files}),)


_TWO: Final = _fonts("Sans", "Sans-Bold")
_TEN: Final = _fonts(*(file[6:-4] for file in _SUMS))

SCRIPTS: Final = Scripts(
    name="scripts",
    title="Twenty letters of each of ten scripts in two fonts, 28x28: the class is the script; a fifth is the test set",
    kind="image",
    input_shape=(1, SIDE, SIDE),
    n_classes=10,
    files=_TWO[0],
    folder="fonts",
    suppliers=_TWO[1],
    mean=0.10360350680335707,
    std=0.26725375461360273,
    modality="images",
    origin=_ORIGIN,
    licence=_LICENCE,
    copies=20,
    sizes=(18, 22),
    degrees=6.0,
    scripts=("LATIN", "GREEK", "CYRILLIC", "ARMENIAN", "HEBREW", "ARABIC", "GEORGIAN", "CANADIAN", "LAO", "TIFINAGH"),
    letters_each=20,
)

FONTS: Final = Fonts(
    name="fonts",
    title="The 26 capital letters in each of ten fonts, 28x28; a fifth of the images of each is the test set",
    kind="image",
    input_shape=(1, SIDE, SIDE),
    n_classes=260,
    files=_TEN[0],
    folder="fonts",
    suppliers=_TEN[1],
    mean=0.1003113924844501,
    std=0.25993198967371883,
    modality="images",
    origin=_ORIGIN,
    licence=_LICENCE,
    copies=30,
    alphabet="ABCDEFGHIJKLMNOPQRSTUVWXYZ",
)
