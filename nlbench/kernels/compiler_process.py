"""What the process does that compiles for another one, a `Compiler`: it imports the kernels, and stores what they compile to.

It imports no torch, of which no program is made, and which takes longer to import than many programs to compile.
"""

from __future__ import annotations

import binascii
import os
import pickle
import sys
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from queue import Empty, SimpleQueue
from threading import Thread
from types import ModuleType
from typing import Any, Final

from nlbench.kernels.compiler import DONE

IDLE: Final = 5.0
"""Seconds without a request after which the process ends."""


def serve() -> None:
    """Do what is asked on standard input until that ends, or nothing is asked for long."""
    requests: SimpleQueue[bytes] = SimpleQueue()
    Thread(target=_listen, args=(requests,), daemon=True).start()
    answers = os.fdopen(os.dup(1), "wb", 0)
    os.dup2(2, 1)
    sys.meta_path.insert(0, _WithoutTorch())
    from nlbench.kernels import compilation

    compilation.Storage.asks = False
    while True:
        try:
            request = requests.get(timeout=IDLE)
        except Empty:
            os._exit(0)
        module, name, kinds = pickle.loads(binascii.a2b_base64(request))
        import_module(module)
        function = compilation.COMPILED.get((module, name))
        if function is not None:  # others, C functions, are compiled as their module is imported
            function.compile(kinds)
        answers.write(DONE)


def _listen(requests: SimpleQueue[bytes]) -> None:
    with open(0, "rb", buffering=0) as stream:  # a buffer's lock would be waited for as Python ends
        for line in stream:
            requests.put(line)
    os._exit(0)  # whoever asked has ended


class _WithoutTorch(MetaPathFinder, Loader):
    """Finds, for torch and all below it, modules that are `_Hollow`."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        return ModuleSpec(name, self, is_package=True) if name.partition(".")[0] == "torch" else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Hollow(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass


class _Hollow(ModuleType):
    """A module whose every name is a class that takes anything: what stands beside programs can be defined, not run."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        found = type(name, (), {"__init__": lambda self, *values: None})
        setattr(self, name, found)
        return found
