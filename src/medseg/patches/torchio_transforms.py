"""TorchIO's transforms: those that the augmentation settings describe, and those asked for by name."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
import torch
import torchio as tio
from numpy.typing import NDArray

from medseg.errors import UserError
from medseg.patches.augment import intensity
from medseg.patches.augment.spatial import Grid
from medseg.patches.settings import AugmentationSettings


def named(transforms: Mapping[str, Mapping[str, Any]]) -> list[Any]:
    """TorchIO random intensity transforms by name.

    Nothing else can be named: other transforms change shapes, or read files.

    Raises:
        UserError: an unknown name, or arguments that the transform does not take.
    """
    allowed = _random_intensity()
    made = []
    for name, arguments in transforms.items():
        where = f"torchio_transforms.{name}"
        if name not in allowed:
            near = difflib.get_close_matches(name, allowed, 1) or sorted(allowed)
            raise UserError(where, "is no random intensity transform of TorchIO", "use " + ", ".join(near))
        try:
            inspect.signature(allowed[name]).bind(**arguments)
            made.append(allowed[name](**arguments))
        except (TypeError, ValueError) as error:
            raise UserError(where, str(error), "see its page in TorchIO's documentation") from error
    return made


def _random_intensity() -> dict[str, Any]:
    kinds = (tio.transforms.augmentation.RandomTransform, tio.transforms.IntensityTransform)
    found = {name: getattr(tio.transforms, name) for name in dir(tio.transforms) if name.startswith("Random")}
    return {
        name: kind
        for name, kind in found.items()
        if inspect.isclass(kind) and all(issubclass(kind, k) for k in kinds) and name != "RandomLabelsToImage"
    }


class Appended:
    """Named transforms on one patch, seeded, without a trace in torch's global generator.

    Only for the thread that trains: that generator is shared by all of them.

    Args:
        transforms: see `named`.
        spacing: mm per axis of the patch.
    """

    def __init__(self, transforms: Mapping[str, Mapping[str, Any]], spacing: Sequence[float]) -> None:
        self.transform = tio.Compose(named(transforms))
        self.affine = np.diag([*spacing, 1.0])

    def __call__(self, image: NDArray[np.float32], present: NDArray[np.bool_], seed: int) -> None:
        """Changes ``(M, *S)`` in place; missing modalities stay zero."""
        volume = image[present] if image.ndim == 4 else image[present][..., None]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            tensor = torch.from_numpy(volume)
            subject = tio.Subject(image=tio.ScalarImage(tensor=tensor, affine=self.affine))
            changed = self.transform(subject)["image"].data.numpy()
        image[present] = changed.reshape(image[present].shape)


class PadTo:
    """Pads a subject with zeros to at least the patch size, evenly on both sides."""

    def __init__(self, patch: Sequence[int]) -> None:
        self.patch = tuple(patch)

    def __call__(self, subject: Any) -> Any:
        """The subject, large enough."""
        missing = [max(p - s, 0) for p, s in zip(self.patch, subject.spatial_shape, strict=True)]
        if not any(missing):
            return subject
        return tio.Pad([side for m in missing for side in (m // 2, m - m // 2)])(subject)


class Drawn:
    """Changes of intensity that TorchIO lacks, on a whole subject; see `_new_contrast` and `_own`."""

    def __init__(self, settings: AugmentationSettings, in_plane: bool) -> None:
        self.settings, self.in_plane = settings, in_plane

    def __call__(self, subject: Any) -> Any:
        """Changes the subject's image in place."""
        image = subject["image"]
        rng = np.random.Generator(np.random.Philox(int(torch.randint(1 << 62, ()))))
        channels = intensity.Channels(tuple(range(image.shape[0])), 3, self.in_plane)
        changes = intensity.draw(rng, self.settings, channels)
        if changes:
            volume = np.array(image.data.numpy(), dtype=np.float32, order="C")
            label = subject["label"].data.numpy()[0].astype(np.uint8) if "label" in subject else None
            intensity.apply(volume, changes, label)
            image.set_data(torch.from_numpy(volume))
        return subject


def from_settings(settings: AugmentationSettings, grid: Grid) -> list[Any]:
    """The settings as transforms of whole subjects: TorchIO's own where it has one."""
    made = _spatial(settings, grid)
    if settings.synthesis_probability or settings.remap_probability:
        made.append(Drawn(_new_contrast(settings), grid.in_plane))
    return [*made, *_intensity(settings, grid), Drawn(_own(settings), grid.in_plane)]


def _new_contrast(settings: AugmentationSettings) -> AugmentationSettings:
    """Synthesis and remapping alone: they come before all other changes of intensity."""
    names = [f.name for f in fields(settings) if f.name.endswith("_probability")]
    others = [name for name in names if name.split("_")[0] not in ("synthesis", "remap")]
    return replace(settings, **dict.fromkeys(others, 0.0))  # type: ignore[arg-type]


def _own(settings: AugmentationSettings) -> AugmentationSettings:
    """Brightness, contrast, gamma with kept statistics, low resolution alone."""
    others = ("synthesis", "remap", "noise", "blur", "bias_field")
    return replace(settings, **{f"{name}_probability": 0.0 for name in others})  # type: ignore[arg-type]


def _spatial(settings: AugmentationSettings, grid: Grid) -> list[Any]:
    degrees = (0, 0, settings.rotation_in_plane_degrees) if grid.in_plane else settings.rotation_degrees
    low, high = settings.scaling_range
    # TorchIO's scales are of the sampling grid: 2 shows the object half as large.
    zoom = (1 / high, 1 / low)
    scales = (*zoom, *zoom, 1, 1) if grid.in_plane else zoom
    distance = settings.elastic_spacing * max(p * s for p, s in zip(grid.patch, grid.spacing, strict=True))
    most = settings.elastic_displacement[1] * distance
    made = []
    if settings.flip_probability and grid.flip_axes:
        made.append(tio.RandomFlip(axes=grid.flip_axes, flip_probability=settings.flip_probability))
    if settings.rotation_probability:
        turn = tuple(end for angle in degrees for end in (-angle, angle))
        made.append(tio.RandomAffine((1, 1), turn, default_pad_value=0, p=settings.rotation_probability))
    if settings.scaling_probability:
        made.append(
            tio.RandomAffine(
                scales, 0, isotropic=not grid.in_plane, default_pad_value=0, p=settings.scaling_probability
            )
        )
    if settings.elastic_probability:
        points = max(5, round(1 / settings.elastic_spacing) + 2)
        move = (most, most, 0) if grid.in_plane else (most, most, most)
        made.append(tio.RandomElasticDeformation(points, move, p=settings.elastic_probability))
    return made


def _intensity(settings: AugmentationSettings, grid: Grid) -> list[Any]:
    made = []
    if settings.bias_field_probability:
        limit = settings.bias_field_coefficients
        made.append(tio.RandomBiasField(limit, order=3, p=settings.bias_field_probability))
    if settings.noise_probability:
        made.append(tio.RandomNoise(mean=0, std=settings.noise_std, p=settings.noise_probability))
    if settings.blur_probability:
        low, high = settings.blur_sigma  # TorchIO's are in mm
        std = [end * mm for mm in grid.spacing for end in (low, high)]
        if grid.in_plane:
            std[4:] = [0, 0]
        made.append(
            tio.RandomBlur(tuple(std), p=settings.blur_probability * settings.blur_channel_probability)
        )
    return made
