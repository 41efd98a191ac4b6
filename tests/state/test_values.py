"""Classes written in Python are told from those that keep state in C."""

from __future__ import annotations

import collections
import sqlite3
import threading
from typing import NamedTuple

import pytest
import torch
from torch import nn

from nlbench.state import values


class Plain:
    pass


class Slots:
    __slots__ = ("__private", "a")

    def __init__(self):
        self.a = self.__private = 1


class Row(NamedTuple):
    a: int


class Own(dict):
    pass


PYTHON = (Plain, Slots, Row, Own, collections.Counter, nn.Module, nn.Linear, torch.optim.Adam, threading.Thread)


@pytest.mark.parametrize("kind", PYTHON)
def test_written_in_python(kind):
    assert values.is_written_in_python(kind)


@pytest.mark.parametrize("kind", [object, int, torch.Generator, sqlite3.Connection, type(threading.Lock()), torch.cuda.Stream])
def test_not_written_in_python(kind):
    assert not values.is_written_in_python(kind)


def test_attributes_are_those_of_the_dict_and_of_slots():
    assert values.attributes(Slots()) == {"a": 1, "_Slots__private": 1}
