"""Turns loops into machine code that releases the GIL, so that threads run side by side.

Compiled on first use and kept in numba's on-disk cache: importing a module of kernels compiles nothing
and touches no file (numba looks for its cache when it decorates, hence the detour).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar, cast

from numba import njit
from numba.extending import register_jitable

_Function = TypeVar("_Function", bound=Callable[..., Any])
# Fused multiply-adds are allowed; nothing that would reorder sums or assume away NaN.
_OPTIONS: dict[str, Any] = {"fastmath": {"contract"}, "error_model": "numpy"}


def inner(function: _Function) -> _Function:
    """Marks a function that kernels call."""
    return cast(_Function, register_jitable(**_OPTIONS)(function))


@cache
def _compiled(kernel: Callable[..., Any]) -> Callable[..., Any]:
    return cast(Callable[..., Any], njit(nogil=True, cache=True, **_OPTIONS)(kernel))


def compiled(kernel: _Function) -> _Function:
    """The machine code of a kernel."""
    return cast(_Function, _compiled(kernel))
