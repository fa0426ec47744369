"""nnU-Net's loader: its blosc2 files, its data loader, its training transforms, its augmenters."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from patch_loaders.cases import BATCH, CLASSES, FOREGROUND
from patch_loaders.cohort import image_path, label_path
from patch_loaders.contract import Opened, Order, nothing

PACKAGES = ("nnunetv2", "batchgeneratorsv2", "batchgenerators", "blosc2")
ELASTIC_SIGMA = 0.115
"""Of the patch's side: as smooth as medseg's cubic B-spline with control points a fifth of the side apart."""
ELASTIC_MAGNITUDE = 0.05
"""Largest displacement, of the patch's side: a quarter of that distance."""


def prepare(order: Order) -> None:
    """Saves the cases as nnU-Net's preprocessor does, blocks and chunks chosen for the patch."""
    import nibabel as nib
    from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
    from nnunetv2.training.dataloading.nnunet_dataset import comp_blosc2_params, nnUNetDatasetBlosc2

    folder = _folder(order)
    if (folder / "done").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    patch = (order.case.patch,) * 3
    for case in range(order.case.volume.cases):
        image = np.asarray(nib.load(image_path(order.folder, case)).dataobj, dtype=np.float32)
        image = image[None] if image.ndim == 3 else np.moveaxis(image, -1, 0)
        label = np.asarray(nib.load(label_path(order.folder, case)).dataobj).astype(np.int16)[None]
        found = DefaultPreprocessor._sample_foreground_locations(label, list(range(1, CLASSES + 1)))
        blocks, chunks = comp_blosc2_params(image.shape, patch, image.itemsize)
        blocks_seg, chunks_seg = comp_blosc2_params(label.shape, patch, label.itemsize)
        nnUNetDatasetBlosc2.save_case(
            np.ascontiguousarray(image),
            label,
            {"class_locations": found, "spacing": [1.0, 1.0, 1.0]},
            str(folder / f"case{case}"),
            chunks=chunks,
            blocks=blocks,
            chunks_seg=chunks_seg,
            blocks_seg=blocks_seg,
        )
    (folder / "done").touch()


def load(order: Order) -> Callable[[], Opened]:
    """What `nnUNetTrainer.get_dataloaders` builds, without deep supervision's smaller targets."""
    from batchgenerators.dataloading.nondet_multi_threaded_augmenter import NonDetMultiThreadedAugmenter
    from batchgenerators.dataloading.single_threaded_augmenter import SingleThreadedAugmenter
    from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
    from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
    from nnunetv2.utilities.label_handling.label_handling import LabelManager

    np.random.seed(order.seed)  # nnU-Net draws from it
    case, patch = order.case, (order.case.patch,) * 3
    stand_in = SimpleNamespace(
        configuration_manager=SimpleNamespace(patch_size=patch), print_to_log_file=lambda *_: None
    )
    configured = nnUNetTrainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size(stand_in)
    rotation, dummy_2d, initial_patch, mirror_axes = configured
    if case.augmentation == "default":
        transforms = nnUNetTrainer.get_training_transforms(patch, rotation, None, mirror_axes, dummy_2d)
    else:
        transforms = _heavy(case.patch, rotation, mirror_axes)
    _choose_blur(transforms, case.volume.channels, patch)
    names = {"background": 0} | {str(value): value for value in range(1, CLASSES + 1)}

    def build() -> Opened:
        loader = nnUNetDataLoader(
            nnUNetDatasetBlosc2(str(_folder(order))),
            BATCH,
            initial_patch,
            patch,
            LabelManager(names, None),
            oversample_foreground_percent=FOREGROUND,
            probabilistic_oversampling=True,
            transforms=transforms,
        )
        if case.workers == 0:
            return Opened(_pairs(SingleThreadedAugmenter(loader, None)), BATCH)
        many = NonDetMultiThreadedAugmenter(loader, None, case.workers, num_cached=6, wait_time=0.002)
        return Opened(_pairs(many), BATCH, nothing, many._finish)

    return build


def _pairs(augmenter: Iterator[Any]) -> Iterator[Any]:
    while True:
        batch = next(augmenter)
        yield batch["data"], batch["target"]


def _heavy(patch: int, rotation: Any, mirror_axes: Any) -> Any:
    from batchgeneratorsv2.transforms.intensity.contrast import BGContrast
    from batchgeneratorsv2.transforms.intensity.gamma import GammaTransform
    from batchgeneratorsv2.transforms.intensity.gaussian_noise import GaussianNoiseTransform
    from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform
    from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
    from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
    from batchgeneratorsv2.transforms.utils.remove_label import RemoveLabelTansform

    spatial = SpatialTransform(
        (patch,) * 3,
        patch_center_dist_from_border=0,
        random_crop=False,
        p_elastic_deform=1,
        elastic_deform_scale=ELASTIC_SIGMA,
        elastic_deform_magnitude=(0.0, ELASTIC_MAGNITUDE * patch),
        p_rotation=1,
        rotation=rotation,
        p_scaling=1,
        scaling=(0.7, 1.4),
        p_synchronize_scaling_across_axes=1,
        bg_style_seg_sampling=False,
        border_mode_seg="constant",
        padding_value_seg=-1,
    )
    noise = GaussianNoiseTransform(noise_variance=(0, 0.1), p_per_channel=1, synchronize_channels=True)
    gamma = GammaTransform(BGContrast((0.7, 1.5)), 0, False, 1, 1)
    return ComposeTransforms(
        [spatial, noise, gamma, MirrorTransform(mirror_axes), RemoveLabelTansform(-1, 0)]
    )


def _choose_blur(transforms: Any, channels: int, patch: tuple[int, ...]) -> None:
    """Lets the blur time its two algorithms now: it does so 18 times per kernel size, once per process."""
    import torch
    from batchgeneratorsv2.transforms.noise.gaussian_blur import GaussianBlurTransform

    for transform in transforms.transforms:
        blur = getattr(transform, "transform", None)
        if isinstance(blur, GaussianBlurTransform):
            image = torch.zeros(1, *patch)
            low, high = blur.blur_sigma
            for sigma in np.linspace(low, high, 21):
                blur._benchmark_wrapper(image, float(sigma), 0)


def _folder(order: Order) -> Path:
    return order.folder / f"nnunet-patch{order.case.patch}"
