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
    for channel, coefficients in zip(bias.channels, bias.coefficients, strict=True):
        volume = image[channel]
        field = coefficients
        for n in volume.shape:
            powers = np.linspace(-1, 1, n, dtype=np.float32)[:, None] ** np.arange(
                _ORDER + 1, dtype=np.float32
            )
            # Contracts the first axis and puts the voxels last: after all axes the order is right again.
            field = np.tensordot(field, powers, axes=(0, 1))
        np.exp(field, out=field)
        low = volume.min()
        volume -= low
        volume *= field
        volume += low
