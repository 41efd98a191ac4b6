"""Data sets: the row of each names its source."""

from __future__ import annotations

from typing import Final

from nlbench.catalog.extension import Extension

SOURCES: Final = {
    "digits": Extension("nlbench.sources.pixels:DIGITS"),
    "mnist": Extension("nlbench.sources.idx:MNIST"),
    "mnist-unscaled": Extension("nlbench.sources.idx:MNIST_UNSCALED"),
    "mnist-padded": Extension("nlbench.sources.idx:MNIST_PADDED"),
    "mnist-padded-unscaled": Extension("nlbench.sources.idx:MNIST_PADDED_UNSCALED"),
    "fashion-mnist": Extension("nlbench.sources.idx:FASHION_MNIST"),
    "mnist-5k": Extension("nlbench.sources.pixels:MNIST_5K"),
    "newsgroups": Extension("nlbench.sources.text:NEWSGROUPS"),
    "r8": Extension("nlbench.sources.text:R8"),
    "r52": Extension("nlbench.sources.text:R52"),
    "newsgroups-wordllama": Extension("nlbench.sources.text:NEWSGROUPS_WORDLLAMA"),
    "r8-wordllama": Extension("nlbench.sources.text:R8_WORDLLAMA"),
    "r52-wordllama": Extension("nlbench.sources.text:R52_WORDLLAMA"),
    "letters": Extension("nlbench.sources.tables:LETTERS"),
    "satellite": Extension("nlbench.sources.tables:SATELLITE"),
    "shuttle": Extension("nlbench.sources.tables:SHUTTLE"),
    "vowel": Extension("nlbench.sources.tables:VOWEL"),
    "vehicle": Extension("nlbench.sources.tables:VEHICLE"),
    "appliances": Extension("nlbench.sources.series:APPLIANCES"),
    "speakers": Extension("nlbench.sources.series:SPEAKERS"),
    "gestures": Extension("nlbench.sources.series:GESTURES"),
    "leaves": Extension("nlbench.sources.series:LEAVES"),
    "motions": Extension("nlbench.sources.series:MOTIONS"),
    "mnist1d": Extension("nlbench.sources.generated:MNIST1D"),
    "formal-languages": Extension("nlbench.sources.symbols:FORMAL_LANGUAGES"),
    "recall": Extension("nlbench.sources.symbols:RECALL"),
    "translations": Extension("nlbench.sources.invented:TRANSLATIONS"),
    "short-words": Extension("nlbench.sources.invented:SHORT_WORDS"),
    "short-recall": Extension("nlbench.sources.invented:SHORT_RECALL"),
    "topics": Extension("nlbench.sources.invented:TOPICS"),
    "associations": Extension("nlbench.sources.invented:ASSOCIATIONS"),
    "sides": Extension("nlbench.sources.invented:SIDES"),
    "scripts": Extension("nlbench.sources.glyphs:SCRIPTS"),
    "fonts": Extension("nlbench.sources.glyphs:FONTS"),
    "cifar10": Extension("nlbench.sources.cifar:CIFAR10"),
    "cifar100": Extension("nlbench.sources.cifar:CIFAR100"),
    "svhn": Extension("nlbench.sources.svhn:SVHN"),
    "kmnist": Extension("nlbench.sources.idx:KMNIST"),
    "emnist-letters": Extension("nlbench.sources.idx:EMNIST_LETTERS"),
    "emnist-balanced": Extension("nlbench.sources.idx:EMNIST_BALANCED"),
    "tiny-imagenet": Extension("nlbench.sources.zipped:TINY_IMAGENET"),
    "core50": Extension("nlbench.sources.zipped:CORE50"),
}
