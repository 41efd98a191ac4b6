"""Code is found by name where it is loaded already and may be made of; nothing of others is, nor imported."""

from __future__ import annotations

import math
import operator
import os
import re
import sys
import types
from collections import Counter

import torch

from nlbench.state.loaded import PURE, loaded, loaded_enumeration
from nlbench.state.values import name_of


class Own:
    def step(self): ...


def test_classes_and_functions_of_ones_own_of_torch_and_of_nlbench_are_found():
    for code in (Own, Own.step, torch.optim.SGD, torch.nn.Linear, loaded):
        assert loaded(name_of(code)) is code


def test_other_installed_code_is_not_found():
    assert loaded(name_of(Counter)) is None
    assert loaded("os:system") is None
    assert loaded("subprocess:Popen") is None


def test_what_only_computes_is_known_and_what_does_more_is_not():
    for code in (len, sum, math.sqrt, operator.mul, torch.relu, torch.zeros, torch.nn.functional.gelu, Counter):
        assert PURE[name_of(code)] is code
    for code in (open, exec, eval, print, getattr, os.system, torch.from_file, torch.set_num_threads, os, math):
        assert name_of(code) not in PURE


def test_an_enumeration_is_found_whosever_it_is():
    assert loaded_enumeration(name_of(re.RegexFlag)) is re.RegexFlag
    assert loaded_enumeration(name_of(Counter)) is None


def test_nothing_is_imported_that_no_statement_of_a_users_own_names():
    assert "antigravity" not in sys.modules
    assert loaded("antigravity:fly") is None
    assert "antigravity" not in sys.modules


def test_a_name_that_leads_to_something_else_is_not_found(monkeypatch):
    module = sys.modules[__name__]
    monkeypatch.setattr(module, "alias", Own, raising=False)
    monkeypatch.setattr(module, "number", 3, raising=False)
    assert loaded(f"{__name__}:alias") is None
    assert loaded(f"{__name__}:number") is None
    assert loaded(f"{__name__}:Own.gone") is None


def test_of_two_files_of_one_name_the_module_that_is_meant_has_its_code(monkeypatch):
    for key in ("stem@/a/stem.py", "stem@/b/stem.py"):
        module = types.ModuleType(key)
        exec("import enum\nclass Own: ...\nclass Side(enum.Enum):\n    LEFT = 1\n", vars(module))
        monkeypatch.setitem(sys.modules, key, module)
    assert loaded("stem@:Own") is sys.modules["stem@/a/stem.py"].Own
    assert loaded("stem@:Own", "stem@/b/stem.py") is sys.modules["stem@/b/stem.py"].Own
    assert loaded_enumeration("stem@:Side", "stem@/b/stem.py") is sys.modules["stem@/b/stem.py"].Side
    assert loaded("stem@:Own", "not loaded") is sys.modules["stem@/a/stem.py"].Own
