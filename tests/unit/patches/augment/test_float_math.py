"""The elementary functions of the kernels against float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from medseg.data.machine_code import compiled
from medseg.patches.augment import float_math


def _exp2(x: Any, out: Any) -> None:
    for i in range(x.size):
        out[i] = float_math.exp2(x[i])


def _exp(x: Any, out: Any) -> None:
    for i in range(x.size):
        out[i] = float_math.exp(x[i])


def _log(x: Any, out: Any) -> None:
    for i in range(x.size):
        out[i] = float_math.log(x[i])


def _log2(x: Any, out: Any) -> None:
    for i in range(x.size):
        out[i] = float_math.log2(x[i])


def _sine(turn: Any, sine: Any, cosine: Any) -> None:
    for i in range(turn.size):
        sine[i], cosine[i] = float_math.sine_and_cosine(turn[i])


@pytest.mark.parametrize(
    ("kernel", "expected", "low", "high"),
    [(_exp2, np.exp2, -125, 125), (_exp, np.exp, -80, 80)],
)
def test_exponentials(kernel: Any, expected: Any, low: float, high: float) -> None:
    x = np.concatenate([np.linspace(low, high, 20001), np.arange(-4, 5)]).astype(np.float32)
    out = np.empty_like(x)
    compiled(kernel)(x, out)
    # The argument itself is rounded: of a large one, a relative error of its spacing is unavoidable.
    np.testing.assert_allclose(out, expected(x.astype(np.float64)), rtol=1e-5 if kernel is _exp else 3e-7)
    small = np.linspace(-3, 3, 5001).astype(np.float32)
    out = np.empty_like(small)
    compiled(kernel)(small, out)
    np.testing.assert_allclose(out, expected(small.astype(np.float64)), rtol=5e-7)


def test_exp2_does_not_leave_its_range() -> None:
    out = np.empty(4, np.float32)
    compiled(_exp2)(np.array([-1e9, -300, 300, 1e9], np.float32), out)
    np.testing.assert_array_equal(out, np.exp2([-126, -126, 127, 127]).astype(np.float32))


@pytest.mark.parametrize(("kernel", "expected"), [(_log, np.log), (_log2, np.log2)])
def test_logarithms(kernel: Any, expected: Any) -> None:
    x = np.concatenate([np.exp2(np.linspace(-126, 127, 20001)), np.linspace(0.4, 2.5, 9999), [1.0]])
    x = x.astype(np.float32)
    out = np.empty_like(x)
    compiled(kernel)(x, out)
    np.testing.assert_allclose(out, expected(x.astype(np.float64)), rtol=3e-7, atol=1e-7)
    assert out[-1] == 0


def test_sine_and_cosine_of_the_whole_turn() -> None:
    turn = np.concatenate([np.linspace(0, 2**32 - 1, 40001), np.arange(0, 2**32, 2**28)]).astype(np.uint32)
    sine, cosine = np.empty(len(turn), np.float32), np.empty(len(turn), np.float32)
    compiled(_sine)(turn, sine, cosine)
    angle = turn.astype(np.float64) * 2 * np.pi / 2**32
    np.testing.assert_allclose(sine, np.sin(angle), atol=2e-7)
    np.testing.assert_allclose(cosine, np.cos(angle), atol=2e-7)
