"""All changes of intensity, on the modalities that a case has: a new contrast first, then nnU-Net's order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.patches.augment import (
    bias_field,
    blur,
    brightness,
    contrast,
    gamma,
    low_resolution,
    noise,
    remap,
    synthesis,
)
from medseg.patches.settings import AugmentationSettings

Change = (
    bias_field.BiasField
    | blur.Blur
    | brightness.Brightness
    | contrast.Contrast
    | gamma.Gamma
    | low_resolution.LowResolution
    | noise.Noise
    | remap.Remap
    | synthesis.Synthesis
)

_APPLY: dict[type[Any], Callable[[NDArray[np.float32], Any], None]] = {
    bias_field.BiasField: bias_field.apply,
    blur.Blur: blur.apply,
    brightness.Brightness: brightness.apply,
    contrast.Contrast: contrast.apply,
    gamma.Gamma: gamma.apply,
    low_resolution.LowResolution: low_resolution.apply,
    noise.Noise: noise.apply,
    remap.Remap: remap.apply,
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
    # Drawn last, so that the numbers above are the same with and without; done first.
    new = [synthesis.draw(rng, settings, present, axes), remap.draw(rng, settings, present)]
    return [change for change in [*new, *drawn] if change is not None]


def apply(
    image: NDArray[np.float32], changes: Sequence[Change], label: NDArray[np.uint8] | None = None
) -> None:
    """Applies them to ``(M, *S)`` one after the other, in place.

    Args:
        image: of one patch.
        changes: as they were drawn.
        label: ``(*S)`` codes of the same patch, for changes that look at them; it is not changed.
    """
    for change in changes:
        if isinstance(change, synthesis.Synthesis):
            synthesis.apply(image, change, label)
        else:
            _APPLY[type(change)](image, change)
