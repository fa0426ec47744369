"""Changes of single values, row by row: a row is one modality of one sample, ``(R, *S)`` all of them.

The definitions are those of the files of the same names in `medseg.patches.augment`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medseg.patches.augment.bias_field import BiasField
from medseg.patches.augment.brightness import Brightness
from medseg.patches.augment.contrast import Contrast
from medseg.patches.augment.gamma import Gamma

_FLAT = 1e-7
"""Below this range, or standard deviation, a row counts as constant."""


def factors(changes: Sequence[Brightness | Contrast]) -> NDArray[np.float32]:
    """``(R,)``."""
    return np.concatenate([np.array(change.factor, np.float32) for change in changes])


def exponents(changes: Sequence[Gamma]) -> NDArray[np.float32]:
    """``(R,)``."""
    return np.concatenate([np.array(change.exponent, np.float32) for change in changes])


def coefficients(changes: Sequence[BiasField]) -> NDArray[np.float32]:
    """``(R, 4, ..., 4)``."""
    return np.concatenate([change.coefficients for change in changes])


def brighten(rows: Tensor, factor: Tensor) -> Tensor:
    """Multiplied by a factor."""
    return rows * _beside(rows, factor)


def stretch(rows: Tensor, factor: Tensor) -> Tensor:
    """Stretched about the mean, within the old range."""
    low, high = _range(rows)
    factor = _beside(rows, factor)
    return torch.clamp(torch.lerp(_mean(rows), rows, factor), min=low, max=high)


def bend(rows: Tensor, exponent: Tensor, inverted: bool) -> Tensor:
    """A power curve over the range of values; mean and standard deviation stay, as do constant rows."""
    low, high = _range(rows)
    mean, std = _mean(rows), _std(rows)
    origin, length = (high, low - high) if inverted else (low, high - low)
    curved = ((rows - origin) / length).clamp_(0, 1).pow_(_beside(rows, exponent))
    factor = (-std if inverted else std) / _std(curved).clamp_(min=_FLAT)
    curved.sub_(_mean(curved)).mul_(factor).add_(mean)
    return torch.where(high - low < _FLAT, rows, curved)


def shade(rows: Tensor, logarithm: Tensor) -> Tensor:
    """Multiplied by the field whose logarithm is a polynomial, from each row's darkest voxel."""
    field = logarithm
    for n in rows.shape[1:]:
        field = _polynomial(field, torch.linspace(-1, 1, n, device=rows.device))
    low, _ = _range(rows)
    return torch.addcmul(low, rows - low, field.exp_())


def _polynomial(coefficients: Tensor, x: Tensor) -> Tensor:
    """The first axis after the rows, of powers, becomes one of voxels and the last: ``(R, ..., n)``."""
    value = coefficients[:, -1, ..., None].expand(*coefficients.shape[:1], *coefficients.shape[2:], len(x))
    for power in range(coefficients.shape[1] - 2, -1, -1):
        value = torch.addcmul(coefficients[:, power, ..., None], value, x)
    return value


def _beside(rows: Tensor, values: Tensor) -> Tensor:
    """``(R,)`` so that it meets ``(R, *S)``."""
    return values.view(-1, *[1] * (rows.ndim - 1))


def _range(rows: Tensor) -> tuple[Tensor, Tensor]:
    low, high = rows.flatten(1).aminmax(dim=1)
    return _beside(rows, low), _beside(rows, high)


def _mean(rows: Tensor) -> Tensor:
    return _beside(rows, rows.flatten(1).mean(1))


def _std(rows: Tensor) -> Tensor:
    return _beside(rows, rows.flatten(1).std(1, correction=0))
