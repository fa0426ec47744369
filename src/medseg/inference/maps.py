"""What a prediction is on its file's grid: codes, and what else was asked for, filled plane by plane."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from medseg.contracts import Labels
from medseg.data.geometry import Geometry, turn
from medseg.inference.entropy import entropy
from medseg.inference.finish import tempered
from medseg.inference.restore import decide


@dataclass(frozen=True)
class Wanted:
    """What is collected beside the codes.

    Attributes:
        probabilities: of every voxel.
        entropy: of the mean.
        spread: what the members disagree about; the planes then have one channel more.
        temperature: of the probabilities; the spread is that of the members as they are.
        folder: where what does not fit in memory lies meanwhile.
    """

    probabilities: bool = False
    entropy: bool = False
    spread: bool = False
    temperature: float = 1.0
    folder: Path | None = None


@dataclass(frozen=True)
class Maps:
    """One case on the grid of its file, in the file's order of axes.

    Attributes:
        codes: ``(W, H, D)`` uint8: 0 background, ``k`` the ``k``-th name of the labels.
        probabilities: ``(K, W, H, D)`` float32.
        entropy: ``(W, H, D)`` float32, in nats.
        spread: ``(W, H, D)`` float32, the mutual information of prediction and member, in nats.
    """

    codes: NDArray[np.uint8]
    probabilities: NDArray[np.float32] | None = None
    entropy: NDArray[np.float32] | None = None
    spread: NDArray[np.float32] | None = None


def collected(
    planes: Iterable[Tensor], geometry: Geometry, axis: int, labels: Labels, wanted: Wanted | None = None
) -> Maps:
    """The maps of a case from score planes of the cropped grid; outside of its crop is certain background.

    Args:
        planes: ``(K, *the two other axes)`` along store axis ``axis``, with one channel more for the spread.
        geometry: of the case.
        axis: an axis of the store.
        labels: what the scores mean.
        wanted: what to collect.
    """
    wanted = wanted or Wanted()
    shape, count = geometry.original_shape, labels.out_channels
    codes = np.zeros(shape, np.uint8)
    scores = scratch((count, *shape), wanted.folder) if wanted.probabilities else None
    unsure = np.zeros(shape, np.float32) if wanted.entropy else None
    spread = np.zeros(shape, np.float32) if wanted.spread else None
    if scores is not None and not labels.overlapping:
        scores[0] = 1
    target = _along(codes, geometry, axis)
    others = [None if whole is None else _along(whole, geometry, axis) for whole in (unsure, spread)]
    rows = [] if scores is None else [_along(row, geometry, axis) for row in scores]
    for n, (decided, plane) in enumerate(zip(target, planes, strict=True)):
        members = plane[:count]
        mean = tempered(members, wanted.temperature, labels.overlapping)
        decided[...] = decide(mean, labels)
        if others[0] is not None:
            others[0][n] = entropy(mean, labels.overlapping).cpu().numpy()
        if others[1] is not None:
            more = entropy(members, labels.overlapping) - plane[count]
            others[1][n] = more.clamp_min(0).cpu().numpy()
        for row, values in zip(rows, mean, strict=bool(rows)):
            row[n] = values.cpu().numpy()
    return Maps(codes, scores, unsure, spread)


def _along(whole: NDArray[Any], geometry: Geometry, axis: int) -> NDArray[Any]:
    """A view of the crop of a map of the file, with store axis ``axis`` first and the other two behind it."""
    turned = turn(whole, geometry.permutation, geometry.flips)
    return np.moveaxis(turned[geometry.crop_slices], axis, 0)


def scratch(shape: tuple[int, ...], folder: Path | None) -> NDArray[np.float32]:
    """Zeros; in a file without a name that goes with the process, where a folder is given."""
    if folder is None or not prod(shape):
        return np.zeros(shape, np.float32)
    folder.mkdir(parents=True, exist_ok=True)
    file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - the map keeps it open as long as it is needed
    return np.memmap(file, np.float32, "w+", shape=shape)
