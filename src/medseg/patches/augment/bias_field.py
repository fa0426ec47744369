"""The slow brightness drift of MRI coils: a smooth multiplicative field (Van Leemput et al. 1999)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medseg.patches.settings import AugmentationSettings

_ORDER = 3


@dataclass(frozen=True)
class BiasField:
    """What was drawn: per channel the coefficients ``(4,) * dims`` of the logarithm of the field."""

    channels: tuple[int, ...]
    coefficients: NDArray[np.float32]


def draw(
    rng: np.random.Generator, settings: AugmentationSettings, channels: Sequence[int], dims: int
) -> BiasField | None:
    """A cubic polynomial in ``dims`` axes for each of the ``channels``, or ``None``."""
    if rng.random() >= settings.bias_field_probability:
        return None
    limit = settings.bias_field_coefficients
    coefficients = rng.uniform(-limit, limit, (len(channels), *(_ORDER + 1,) * dims)).astype(np.float32)
    degree = np.indices(coefficients.shape[1:]).sum(0)
    # The constant would only be a change of brightness, and has a transform of its own.
    coefficients[:, (degree > _ORDER) | (degree == 0)] = 0
    return BiasField(tuple(channels), coefficients)


def apply(image: NDArray[np.float32], bias: BiasField) -> None:
    """Multiplies ``(M, *S)`` by the field, in place, measured from each channel's darkest voxel.

    Normalised images have negative values, so zero is no darkness.
    """
    from medseg.data.machine_code import compiled
    from medseg.patches.augment.intensity_kernels import multiply_field

    shape = (*(1,) * (4 - image.ndim), *image.shape[1:])  # an image is a volume of one plane
    x, y, z = (_powers(n) for n in shape)
    work = np.empty((_ORDER + 1, _ORDER + 1), np.float32)
    for channel, drawn in zip(bias.channels, bias.coefficients, strict=True):
        coefficients = np.zeros((_ORDER + 1,) * 3, np.float32)
        coefficients[(0,) * (3 - drawn.ndim)] = drawn
        volume = image[channel]
        compiled(multiply_field)(volume.reshape(shape), coefficients, (x, y, z), volume.min(), work)


def _powers(n: int) -> NDArray[np.float32]:
    """``(4, n)``: 1, t, t squared and t cubed on an axis from -1 to 1."""
    coordinate = np.linspace(-1, 1, n, dtype=np.float32)
    return np.ascontiguousarray(coordinate ** np.arange(_ORDER + 1, dtype=np.float32)[:, None])
