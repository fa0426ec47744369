"""Turns loops into machine code that releases the GIL, so that threads run side by side.

Compiled on first use and kept in numba's on-disk cache: importing a module of kernels compiles nothing
and touches no file.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import Any, TypeVar, cast

import llvmlite.binding as llvm  # type: ignore[import-untyped]
from numba import njit, typeof
from numba.extending import register_jitable

_Function = TypeVar("_Function", bound=Callable[..., Any])
# Fused multiply-adds are allowed; nothing that would reorder sums or assume away NaN. Kernels allocate
# nothing: without numba's reference counting their loops stay free of calls and of shared counters.
_OPTIONS: dict[str, Any] = {"fastmath": {"contract"}, "error_model": "numpy", "_nrt": False}
_LOCK = threading.Lock()
_log = logging.getLogger(__name__)


def inner(function: _Function) -> _Function:
    """Marks a function that kernels call; it becomes part of their loops."""
    return cast(_Function, register_jitable(forceinline=True, **_OPTIONS)(function))


def rare(function: _Function) -> _Function:
    """Marks a function that kernels seldom call, and that would only make their loops longer."""
    return cast(_Function, register_jitable(**_OPTIONS)(function))


class _Kernel:
    """A function that is compiled for the types of its first call."""

    def __init__(self, function: FunctionType) -> None:
        self.function = function
        self.dispatcher: Any = None

    def __call__(self, *arguments: Any) -> Any:
        if self.dispatcher is None:
            with _LOCK:
                if self.dispatcher is None:
                    self.dispatcher = _dispatcher(self.function, tuple(typeof(a) for a in arguments))
        return self.dispatcher(*arguments)


@cache
def _kernel(function: FunctionType) -> _Kernel:
    return _Kernel(function)


def compiled(kernel: _Function) -> _Function:
    """The machine code of a kernel."""
    return cast(_Function, _kernel(cast(FunctionType, kernel)))


def _dispatcher(function: FunctionType, types: tuple[Any, ...]) -> Any:
    """Compiled or loaded; where the cache cannot be used, compiled for this process alone."""
    make = njit(nogil=True, **_OPTIONS)
    try:
        return _cached(make, function, types)
    except Exception as error:  # noqa: BLE001 - no place to write, a full disk: see below
        _log.warning("%s is compiled anew in every process: %s", function.__name__, error)
    dispatcher = make(function)
    dispatcher.compile(types)
    return dispatcher


def _cached(make: Any, function: FunctionType, types: tuple[Any, ...]) -> Any:
    """From the cache; a file that was cut short is compiled and written again."""
    dispatcher = make(_named_for_this_machine(function))
    dispatcher.enable_caching()
    try:
        dispatcher.compile(types)
    except Exception as error:  # noqa: BLE001 - whatever a damaged file makes numba raise
        _log.warning("the compiled %s could not be used and is made again: %s", function.__name__, error)
        dispatcher = make(_named_for_this_machine(function))
        dispatcher.enable_caching()
        dispatcher._cache.flush()
        dispatcher.compile(types)
    return dispatcher


def _named_for_this_machine(function: FunctionType) -> FunctionType:
    """A copy whose cache files belong to this source and this processor alone.

    numba looks only at the file of the outermost function, and two processes that add different
    entries to one index at the same time may exchange them.
    """
    named = FunctionType(function.__code__, function.__globals__, function.__name__)
    named.__module__ = function.__module__
    named.__qualname__ = f"{function.__name__}-{_fingerprint(Path(function.__code__.co_filename).parent)}"
    return named


@cache
def _fingerprint(folder: Path) -> str:
    """Of the kernels' folder, since kernels call functions of the files beside theirs."""
    digest = hashlib.blake2b(digest_size=6)
    for file in [Path(__file__), *sorted(folder.glob("*.py"))]:
        digest.update(file.read_bytes())
    digest.update(f"{llvm.get_host_cpu_name()} {llvm.get_host_cpu_features().flatten()}".encode())
    return digest.hexdigest()
