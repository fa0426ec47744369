"""MONAI: `CacheDataset` (volumes in memory) or `PersistentDataset` (tensors on disk), its `DataLoader`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from patch_loaders.cases import BATCH, CLASSES, FOREGROUND, Case
from patch_loaders.cohort import image_path, label_path
from patch_loaders.contract import Opened, Order, nothing

PACKAGES = ("monai",)
_KEYS = ("image", "label")
_MODES = ("bilinear", "nearest")
_PER_VOLUME = 4  # patches per volume that PersistentDataset reads; CacheDataset takes one
_DRAWS = 1_000_000
_POSITIONS = 10_000


def prepare(order: Order) -> None:
    """Fills the persistent cache; `CacheDataset` reads the NIfTI files when it is built."""
    if order.loader != "monai-persistent":
        return
    from monai.data import PersistentDataset, set_track_meta
    from monai.transforms import Compose

    set_track_meta(False)
    dataset = PersistentDataset(_items(order), Compose(_deterministic(order.case)), cache_dir=_cache(order))
    for k in range(len(dataset)):
        dataset[k]


def load(order: Order) -> Callable[[], Opened]:
    """The deterministic transforms are cached, the random ones work on the cropped patch."""
    import torch
    from monai.data import CacheDataset, DataLoader, PersistentDataset, set_track_meta
    from monai.transforms import Compose
    from monai.utils import set_determinism

    case, persistent = order.case, order.loader == "monai-persistent"
    per_volume = _PER_VOLUME if persistent else 1

    def build() -> Opened:
        set_determinism(order.seed)
        set_track_meta(False)  # without metadata to carry along the transforms are faster
        transform = Compose([*_deterministic(case), _crop(case, per_volume), *_random(case)])
        if persistent:
            dataset: Any = PersistentDataset(_items(order), transform, cache_dir=_cache(order))
        else:
            # No random transform writes into its input, and a copy of the whole volume per patch is dear.
            dataset = CacheDataset(_items(order), transform, num_workers=1, progress=False, copy_cache=False)
        # One endless epoch: at the end of an epoch of few cases the workers would stand still.
        sampler = torch.utils.data.RandomSampler(dataset, replacement=True, num_samples=_DRAWS)
        size = 1 if persistent else BATCH
        loader = DataLoader(dataset, batch_size=size, sampler=sampler, num_workers=case.workers)
        iterator = iter(loader)
        close = getattr(iterator, "_shutdown_workers", nothing)
        return Opened(_pairs(iterator), size * per_volume, nothing, close)

    return build


def _pairs(loader: Iterator[Any]) -> Iterator[Any]:
    for batch in loader:
        yield batch["image"], batch["label"]


def _items(order: Order) -> list[dict[str, str]]:
    return [
        {"image": str(image_path(order.folder, k)), "label": str(label_path(order.folder, k))}
        for k in range(order.case.volume.cases)
    ]


def _cache(order: Order) -> Path:
    return order.folder / "monai-persistent"


def _deterministic(case: Case) -> list[Any]:
    import torch
    from monai.transforms import ClassesToIndicesd, EnsureChannelFirstd, EnsureTyped, LoadImaged

    return [
        LoadImaged(_KEYS),
        EnsureChannelFirstd("image", channel_dim=-1 if case.volume.channels > 1 else "no_channel"),
        EnsureChannelFirstd("label", channel_dim="no_channel"),
        EnsureTyped(_KEYS, dtype=(torch.float32, torch.uint8), track_meta=False),
        ClassesToIndicesd("label", num_classes=CLASSES + 1, max_samples_per_class=_POSITIONS),
    ]


def _crop(case: Case, per_volume: int) -> Any:
    from monai.transforms import RandCropByLabelClassesd

    return RandCropByLabelClassesd(
        _KEYS,
        label_key="label",
        spatial_size=(case.patch,) * 3,
        ratios=[1 - FOREGROUND] + [FOREGROUND / CLASSES] * CLASSES,
        num_classes=CLASSES + 1,
        num_samples=per_volume,
        indices_key="label_cls_indices",
        warn=False,
    )


def _random(case: Case) -> list[Any]:
    from monai import transforms as m

    flips = [m.RandFlipd(_KEYS, prob=0.5, spatial_axis=axis) for axis in range(3)]
    turn = {"rotate_range": (math.pi / 6,) * 3}
    scale = {"scale_range": ((-0.3, 0.4),) * 3}
    if case.augmentation == "heavy":
        # Its tutorials' sigma and magnitude: displacements of up to some 4 voxels, one resampling for all.
        bend = m.Rand3DElasticd(
            _KEYS, (5, 8), (100, 200), prob=1, mode=_MODES, padding_mode="zeros", **turn, **scale
        )
        noise = m.RandGaussianNoised("image", prob=1, std=0.1)
        gamma = m.RandAdjustContrastd("image", prob=1, gamma=(0.7, 1.5), retain_stats=True)
        return [bend, noise, gamma, *flips]
    gamma_options: Any = {"gamma": (0.7, 1.5), "retain_stats": True}
    blur = (0.5, 1.0)
    return [
        m.RandAffined(_KEYS, prob=0.2, mode=_MODES, padding_mode="zeros", **turn),
        m.RandAffined(_KEYS, prob=0.2, mode=_MODES, padding_mode="zeros", **scale),
        m.RandGaussianNoised("image", prob=0.1, std=0.1),
        # nnU-Net's 0.2 and 0.25 times 0.5 per channel; MONAI takes all channels or none.
        m.RandGaussianSmoothd("image", blur, blur, blur, prob=0.1),
        m.RandScaleIntensityd("image", factors=0.25, prob=0.15, channel_wise=True),
        m.RandScaleIntensityFixedMeand("image", factors=0.25, preserve_range=True, prob=0.15),
        m.RandSimulateLowResolutiond("image", prob=0.125, zoom_range=(0.5, 1.0)),
        m.RandAdjustContrastd("image", prob=0.1, invert_image=True, **gamma_options),
        m.RandAdjustContrastd("image", prob=0.3, **gamma_options),
        *flips,
    ]
