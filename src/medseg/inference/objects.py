"""The single objects in a case, from networks that find them one by one, on the grid of its files.

Windows overlap and several networks may answer, so one object is found many times; the surest answer is
kept. Objects are of slices, as the networks that find them are.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from medseg.data.geometry import Geometry
from medseg.data.resample import nearest_index
from medseg.inference.hardware import autocast
from medseg.inference.neighbours import Neighbours
from medseg.inference.sliding_window import cut
from medseg.inference.windows import WindowGrid

MOST = np.iinfo(np.uint16).max
SAME = 0.5
"""Of two objects of a class that overlap more than this (IoU) the less sure is dropped."""
Mask = NDArray[np.bool_]
Triple = tuple[int, int, int]


@runtime_checkable
class FindsObjects(Protocol):
    """An ``nn.Module`` that tells its objects apart."""

    def objects(self, image: Tensor, least: float) -> list[tuple[Tensor, Tensor, Tensor]]:
        """``(B, M, *S)`` -> per image masks ``(N, *S)`` bool, codes ``(N,)`` and scores ``(N,)``.

        Only those with a score of at least ``least``.
        """


@dataclass(frozen=True)
class Found:
    """One object.

    Attributes:
        code: its class, from 1.
        score: how sure it is.
        low: the first voxel of its box.
        mask: ``(w, h, d)`` of the box.
        cut: whether a window ended in it, beyond which it may go on.
    """

    code: int
    score: float
    low: Triple
    mask: Mask
    cut: bool


@dataclass(frozen=True)
class Search:
    """How a case is searched: networks that share a plan, and the device where they are."""

    networks: Sequence[nn.Module]
    device: torch.device
    precision: str
    window_batch: int
    least: float

    def over(self, image: NDArray[np.float32] | Neighbours, grid: WindowGrid) -> Iterator[Found]:
        """The objects in ``(M, W, H, D)`` in store order, one window after the other."""
        finders = [m for network in self.networks for m in network.modules() if isinstance(m, FindsObjects)]
        corners = grid.ordered(2)
        while batch := list(itertools.islice(corners, self.window_batch)):
            windows = np.stack([cut(image, corner, grid.window)[..., 0] for corner in batch])
            shown = torch.from_numpy(windows).to(self.device)
            for finder in finders:
                with torch.inference_mode(), autocast(self.device, self.precision):
                    answers = finder.objects(shown, self.least)
                for corner, answer in zip(batch, answers, strict=True):
                    masks, codes, scores = (part.cpu().numpy() for part in answer)
                    for mask, code, score in zip(masks, codes, scores, strict=True):
                        yield from _placed(mask, int(code), float(score), corner, grid)


def _placed(mask: Mask, code: int, score: float, corner: Sequence[int], grid: WindowGrid) -> Iterator[Found]:
    """An object of a window as one of the volume, unless it lies outside of it."""
    low = [max(c, 0) for c in corner[:2]]
    high = [min(c + w, n) for c, w, n in zip(corner[:2], grid.window, grid.shape, strict=False)]
    i, j = (slice(a - c, b - c) for a, b, c in zip(low, high, corner, strict=False))
    inside = mask[i, j]
    box = _box(inside)
    if box is None:
        return
    first = [a + s.start for a, s in zip(low, box, strict=True)]
    last = [a + s.stop for a, s in zip(low, box, strict=True)]
    ended = any(
        (a == c and c > 0) or (b == c + w and b < n)
        for a, b, c, w, n in zip(first, last, corner, grid.window, grid.shape, strict=False)
    )
    yield Found(code, score, (first[0], first[1], corner[2]), inside[box][..., None], ended)


def on_file(found: Iterable[Found], geometry: Geometry) -> Iterator[Found]:
    """The same objects on the grid of the case's files: each voxel is of what lies nearest to it."""
    sizes = zip(geometry.shape, geometry.cropped_shape, strict=True)
    nearest = [nearest_index(n, m) for n, m in sizes]
    for one in found:
        parts = [
            np.flatnonzero((index >= a) & (index < a + n))
            for index, a, n in zip(nearest, one.low, one.mask.shape, strict=True)
        ]
        if not all(len(part) for part in parts):
            continue
        rows = [index[part] - a for index, part, a in zip(nearest, parts, one.low, strict=True)]
        low = [int(part[0]) + start for part, (start, _) in zip(parts, geometry.crop, strict=True)]
        yield _turned(one, low, one.mask[np.ix_(*rows)], geometry)


def _turned(one: Found, low: Sequence[int], mask: Mask, geometry: Geometry) -> Found:
    """From the axes of the store to those of the file."""
    first, sizes = [0, 0, 0], zip(low, mask.shape, geometry.oriented_shape, strict=True)
    for axis, flip, (a, n, whole) in zip(geometry.permutation, geometry.flips, sizes, strict=True):
        first[axis] = whole - a - n if flip else a
    backwards = tuple(slice(None, None, -1 if flip else 1) for flip in geometry.flips)
    turned = mask[backwards].transpose(np.argsort(geometry.permutation))
    return Found(one.code, one.score, (first[0], first[1], first[2]), turned, one.cut)


def told_apart(found: Iterable[Found], shape: Triple) -> tuple[NDArray[np.uint16], list[Found]]:
    """The instance map ``(W, H, D)``, 0 where nothing is, and the objects, the surest with id 1.

    Of an object that was found several times one is kept: the surest of those that no window cut. A piece at
    the edge of a window is dropped where more than half of it belongs to an object of its class. A voxel is
    of the object that was kept first.
    """
    ids = np.zeros(shape, np.uint16)
    kept: list[Found] = []
    for one in sorted(found, key=lambda each: (each.cut, -each.score)):
        box = tuple(slice(a, a + n) for a, n in zip(one.low, one.mask.shape, strict=True))
        here = ids[box]
        if len(kept) == MOST or _known(one, here[one.mask], kept):
            continue
        free = one.mask & (here == 0)
        if free.any():
            kept.append(one)
            here[free] = len(kept)
    order = sorted(range(len(kept)), key=lambda k: -kept[k].score)
    number = np.zeros(len(kept) + 1, np.uint16)
    number[[k + 1 for k in order]] = np.arange(1, len(kept) + 1)
    return number[ids], [kept[k] for k in order]


def _known(one: Found, under: NDArray[np.uint16], kept: Sequence[Found]) -> bool:
    """Whether it is one of those that were kept; ``under`` are their ids below its voxels."""
    for number, shared in zip(*np.unique(under[under > 0], return_counts=True), strict=True):
        other = kept[number - 1]
        if other.code != one.code:
            continue
        own = np.count_nonzero(one.mask)
        whole = own if one.cut else own + np.count_nonzero(other.mask) - shared
        if shared > SAME * whole:
            return True
    return False


def _box(mask: Mask) -> tuple[slice, ...] | None:
    """The smallest box around what is set."""
    lines: list[Any] = [np.flatnonzero(mask.any(axis=1 - axis)) for axis in range(2)]
    if not len(lines[0]):
        return None
    return tuple(slice(int(line[0]), int(line[-1]) + 1) for line in lines)
