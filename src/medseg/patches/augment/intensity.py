"""All changes of intensity, in nnU-Net's order, on the modalities that a case has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.patches.augment import bias_field, blur, brightness, contrast, gamma, low_resolution, noise
from medseg.patches.settings import AugmentationSettings

Change = (
    bias_field.BiasField
    | blur.Blur
    | brightness.Brightness
    | contrast.Contrast
    | gamma.Gamma
    | low_resolution.LowResolution
    | noise.Noise
)

_APPLY: dict[type[Any], Callable[[NDArray[np.float32], Any], None]] = {
    bias_field.BiasField: bias_field.apply,
    blur.Blur: blur.apply,
    brightness.Brightness: brightness.apply,
    contrast.Contrast: contrast.apply,
    gamma.Gamma: gamma.apply,
    low_resolution.LowResolution: low_resolution.apply,
    noise.Noise: noise.apply,
}


@dataclass(frozen=True)
class Channels:
    """What may be changed: the present modalities, along the axes of ``dims`` that are not slices."""

    present: tuple[int, ...]
    dims: int
    in_plane: bool

    @property
    def axes(self) -> tuple[int, ...]:
        """The spatial axes of full resolution."""
        return (0, 1) if self.in_plane else tuple(range(self.dims))


def draw(rng: np.random.Generator, settings: AugmentationSettings, channels: Channels) -> list[Change]:
    """The changes of one patch, in the order in which they are applied."""
    present, axes = channels.present, channels.axes
    drawn = [
        bias_field.draw(rng, settings, present, channels.dims),
        noise.draw(rng, settings, present),
        blur.draw(rng, settings, present, axes),
        brightness.draw(rng, settings, present),
        contrast.draw(rng, settings, present),
        low_resolution.draw(rng, settings, present, axes),
        gamma.draw(rng, settings, present, inverted=True),
        gamma.draw(rng, settings, present, inverted=False),
    ]
    return [change for change in drawn if change is not None]


def apply(image: NDArray[np.float32], changes: list[Change]) -> None:
    """Applies them to ``(M, *S)`` one after the other, in place."""
    for change in changes:
        _APPLY[type(change)](image, change)
