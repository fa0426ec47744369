"""Stock TorchIO: `tio.Queue` over whole subjects, `LabelSampler`, its own transforms."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from patch_loaders.cases import BATCH, CLASSES, FOREGROUND, Case
from patch_loaders.cohort import image_path, label_path
from patch_loaders.contract import Opened, Order, nothing

PACKAGES = ("torchio",)
_VOLUMES = 4096


def prepare(order: Order) -> None:
    """Reads the NIfTI files as they are."""


def load(order: Order) -> Callable[[], Opened]:
    """The queue as its documentation builds it; it holds the patches of one volume, of two at one each."""
    import torch
    import torchio as tio

    case, per_volume = order.case, order.samples_per_volume
    length = max(per_volume, BATCH)

    def build() -> Opened:
        torch.manual_seed(order.seed)
        subjects = [
            tio.Subject(
                image=tio.ScalarImage(image_path(order.folder, k)),
                label=tio.LabelMap(label_path(order.folder, k)),
            )
            for k in range(case.volume.cases)
        ]
        dataset = tio.SubjectsDataset(subjects, transform=tio.Compose(_transforms(case)))
        shares = {0: 1 - FOREGROUND} | dict.fromkeys(range(1, CLASSES + 1), FOREGROUND / CLASSES)
        queue = tio.Queue(
            dataset,
            max_length=length,
            samples_per_volume=per_volume,
            sampler=tio.LabelSampler(case.patch, "label", shares),
            # One long epoch: at the end of an epoch of few cases the workers would be started anew.
            subject_sampler=torch.utils.data.RandomSampler(dataset, replacement=True, num_samples=_VOLUMES),
            shuffle_subjects=False,
            num_workers=case.workers,
        )
        loader = tio.SubjectsLoader(queue, batch_size=BATCH, num_workers=0)
        close = getattr(queue._subjects_iterable, "_shutdown_workers", nothing)
        return Opened(_pairs(iter(loader)), length, nothing, close)

    return build


def _pairs(loader: Iterator[Any]) -> Iterator[Any]:
    for batch in loader:
        yield batch["image"]["data"], batch["label"]["data"]


def _transforms(case: Case) -> list[Any]:
    import torchio as tio

    # TorchIO scales the sampling grid, so these are the inverses of 0.7 and 1.4.
    turn: Any = {"scales": (1, 1), "degrees": 30, "default_pad_value": 0}
    scale: Any = {"scales": (1 / 1.4, 1 / 0.7), "degrees": 0, "isotropic": True, "default_pad_value": 0}
    flip = tio.RandomFlip(axes=(0, 1, 2), flip_probability=0.5)
    gamma = (-0.357, 0.405)  # logarithms of 0.7 and 1.5
    if case.augmentation == "heavy":
        interval = 0.2 * case.patch
        points = tuple(round(n / interval) + 3 for n in case.volume.shape)
        both = turn | {"scales": scale["scales"], "isotropic": True}
        return [
            tio.RandomAffine(**both),
            tio.RandomElasticDeformation(points, max_displacement=0.25 * interval),
            tio.RandomNoise(std=(0, 0.1)),
            tio.RandomGamma(gamma),
            flip,
        ]
    return [
        tio.RandomAffine(**turn, p=0.2),
        tio.RandomAffine(**scale, p=0.2),
        tio.RandomNoise(std=(0, 0.1), p=0.1),
        # nnU-Net's 0.2 and 0.25 times 0.5 per channel; TorchIO takes all channels or none.
        tio.RandomBlur((0.5, 1), p=0.1),
        tio.RandomAnisotropy(downsampling=(1, 2), p=0.125),
        tio.RandomGamma(gamma, p=0.1),
        tio.RandomGamma(gamma, p=0.3),
        flip,
    ]
