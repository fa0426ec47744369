"""What is drawn for every patch: probabilities and ranges."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

Range = tuple[float, float]
MOST_CLUSTERS = 16
"""That the background of a synthetic image may have."""


@dataclass(frozen=True)
class AugmentationSettings:
    """Probabilities and ranges of the augmentation; the defaults are nnU-Net's (Isensee et al. 2021).

    A probability is per patch, unless it says per channel: then the channels of a chosen patch are
    chosen one by one. A range is ``(low, high)``. Angles are rotations in millimetre space, so a patch of
    anisotropic voxels turns without shearing.

    Attributes:
        rotation_probability: of turning the patch.
        rotation_degrees: largest angle about each store axis, either way, in 3D.
        rotation_in_plane_degrees: largest angle in 2D and where the plan augments in-plane only.
        scaling_probability: of making the object larger or smaller.
        scaling_range: the factor, drawn log-uniformly; 2 shows the object twice as large.
        elastic_probability: of bending the patch.
        elastic_spacing: distance of the control points as a share of the patch's longest side in mm.
        elastic_displacement: largest displacement of a control point, per axis, as a share of that
            distance; below 0.4 a cubic B-spline cannot fold (Choi and Lee 2000).
        flip_probability: of a flip, for every axis of ``flip_axes`` by itself.
        flip_axes: 0 left-right, 1 posterior-anterior, 2 inferior-superior; of an image without
            orientation the first, second and third axis.
        noise_probability: of adding Gaussian noise.
        noise_std: its standard deviation, in units of the normalised image.
        blur_probability: of a Gaussian blur.
        blur_channel_probability: of each channel, then.
        blur_sigma: in voxels.
        brightness_probability: of multiplying by a factor.
        brightness_range: that factor.
        contrast_probability: of stretching about the mean, within the old minimum and maximum.
        contrast_range: the stretch.
        low_resolution_probability: of throwing away resolution.
        low_resolution_channel_probability: of each channel, then.
        low_resolution_range: share of the voxels per axis that is kept.
        gamma_probability: of a gamma curve that keeps mean and standard deviation.
        gamma_inverted_probability: the same on the inverted image.
        gamma_range: the exponent.
        bias_field_probability: of a smooth multiplicative field, as in MRI (Van Leemput et al. 1999).
        bias_field_coefficients: largest coefficient of its cubic polynomial, on a patch from -1 to 1.
        modality_dropout_probability: of hiding some of the modalities that a case has, never all; every
            smaller set of them is as likely as any other.
        synthesis_probability: of replacing every image of the patch by one of a random contrast: a Gaussian
            for each label and each cluster of the background (Billot et al. 2023, SynthSeg). Mean and
            standard deviation of the patch stay. Without labels there are clusters alone.
        synthesis_clusters: in how many the background is split, by the intensities of the image.
        synthesis_mean: of a Gaussian; only how the means lie to each other and to ``synthesis_std`` matters.
        synthesis_std: its standard deviation.
        synthesis_blur: of the synthetic image, in voxels.
        remap_probability: of sending every image through a smooth random curve (Zhou et al. 2021, Models
            Genesis); mean and standard deviation stay.
        remap_points: control points of that Bezier curve.
        remap_monotone_probability: of a curve that only rises or only falls, each as often.
    """

    rotation_probability: float = 0.2
    rotation_degrees: tuple[float, float, float] = (30.0, 30.0, 30.0)
    rotation_in_plane_degrees: float = 180.0
    scaling_probability: float = 0.2
    scaling_range: tuple[float, float] = (0.7, 1.4)
    elastic_probability: float = 0.0
    elastic_spacing: float = 0.2
    elastic_displacement: tuple[float, float] = (0.0, 0.25)
    flip_probability: float = 0.5
    flip_axes: tuple[int, ...] = (0, 1, 2)
    noise_probability: float = 0.1
    noise_std: tuple[float, float] = (0.0, 0.1)
    blur_probability: float = 0.2
    blur_channel_probability: float = 0.5
    blur_sigma: tuple[float, float] = (0.5, 1.0)
    brightness_probability: float = 0.15
    brightness_range: tuple[float, float] = (0.75, 1.25)
    contrast_probability: float = 0.15
    contrast_range: tuple[float, float] = (0.75, 1.25)
    low_resolution_probability: float = 0.25
    low_resolution_channel_probability: float = 0.5
    low_resolution_range: tuple[float, float] = (0.5, 1.0)
    gamma_probability: float = 0.3
    gamma_inverted_probability: float = 0.1
    gamma_range: tuple[float, float] = (0.7, 1.5)
    bias_field_probability: float = 0.0
    bias_field_coefficients: float = 0.3
    modality_dropout_probability: float = 0.0
    synthesis_probability: float = 0.0
    synthesis_clusters: tuple[int, int] = (3, 8)
    synthesis_mean: tuple[float, float] = (0.0, 1.0)
    synthesis_std: tuple[float, float] = (0.0, 0.15)
    synthesis_blur: tuple[float, float] = (0.3, 1.0)
    remap_probability: float = 0.0
    remap_points: int = 5
    remap_monotone_probability: float = 0.5

    def __post_init__(self) -> None:
        for field in fields(self):
            value: object = getattr(self, field.name)
            if isinstance(value, list):  # YAML has no tuples
                object.__setattr__(self, field.name, tuple(value))

    @classmethod
    def off(cls) -> AugmentationSettings:
        """No augmentation at all: what validation patches get."""
        names = [field.name for field in fields(cls) if field.name.endswith("_probability")]
        return cls(**dict.fromkeys(names, 0.0))  # type: ignore[arg-type]

    def problems(self) -> list[str]:
        """What is out of range, one line each."""
        found = [
            line for name, bounds in _RANGES.items() for line in _range(name, getattr(self, name), *bounds)
        ]
        for field in fields(self):
            if field.name.endswith("_probability"):
                found += _number(field.name, getattr(self, field.name), 0.0, 1.0)
        if len(list(self.rotation_degrees)) != 3:
            found.append("rotation_degrees: needs three angles; write [30, 30, 30]")
        for angle in self.rotation_degrees:
            found += _number("rotation_degrees", angle, 0.0, 180.0)
        found += _number("rotation_in_plane_degrees", self.rotation_in_plane_degrees, 0.0, 180.0)
        found += _number("elastic_spacing", self.elastic_spacing, 0.05, 1.0)
        found += _number("bias_field_coefficients", self.bias_field_coefficients, 0.0, 2.0)
        found += _number("remap_points", self.remap_points, 2, 8)
        if not set(self.flip_axes) <= {0, 1, 2} or len(set(self.flip_axes)) != len(self.flip_axes):
            found.append(f"flip_axes: {list(self.flip_axes)} is no set of axes; choose from [0, 1, 2]")
        return found


# Smallest and largest value allowed at either end of each range.
_RANGES: dict[str, Range] = {
    "scaling_range": (0.1, 10.0),
    "elastic_displacement": (0.0, 0.4),
    "noise_std": (0.0, math.inf),
    "blur_sigma": (0.01, 10.0),
    "brightness_range": (0.01, 100.0),
    "contrast_range": (0.01, 100.0),
    "low_resolution_range": (0.05, 1.0),
    "gamma_range": (0.05, 20.0),
    "synthesis_clusters": (1, MOST_CLUSTERS),
    "synthesis_mean": (-100.0, 100.0),
    "synthesis_std": (0.0, 100.0),
    "synthesis_blur": (0.01, 10.0),
}


def _number(name: str, value: float, low: float, high: float) -> list[str]:
    if low <= value <= high:
        return []
    return [f"{name}: {value} is out of range; choose a number from {low:g} to {high:g}"]


def _range(name: str, value: Range, low: float, high: float) -> list[str]:
    if len(value) != 2 or value[0] > value[1]:
        return [f"{name}: {list(value)} is no range; write [low, high]"]
    return [line for end in value for line in _number(name, end, low, high)]
