"""All changes of intensity of a batch, kind after kind, in the order in which they are drawn."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medseg.patches.augment.bias_field import BiasField
from medseg.patches.augment.blur import Blur
from medseg.patches.augment.brightness import Brightness
from medseg.patches.augment.contrast import Contrast
from medseg.patches.augment.gamma import Gamma
from medseg.patches.augment.intensity import Change
from medseg.patches.augment.low_resolution import LowResolution
from medseg.patches.augment.noise import Noise
from medseg.patches.augment.remap import Remap
from medseg.patches.augment.synthesis import Synthesis
from medseg.patches.on_device import contrasts, filters, noise, tones

ROWS = 1 << 23
"""Voxels that are changed at once: 32 MB and a few copies."""


@dataclass(frozen=True)
class Step:
    """One kind of change on the rows that drew it; a row is one modality of one sample.

    Attributes:
        kind: its name, see `_KINDS`.
        rows: ``sample * M + modality``, increasing.
        values: ``(R, ...)`` what was drawn for each.
        axes: the spatial axes along which it acts, for filters.
        seeds: of each row, for what needs normals.
    """

    kind: str
    rows: tuple[int, ...]
    values: Tensor
    axes: tuple[int, ...] = ()
    seeds: tuple[int, ...] = ()

    def split(self, count: int) -> Iterator[Step]:
        """The same in pieces of at most ``count`` rows."""
        for first in range(0, len(self.rows), count):
            piece = slice(first, first + count)
            yield Step(self.kind, self.rows[piece], self.values[piece], self.axes, self.seeds[piece])


Codes = Callable[[], Tensor | None]
"""Gives the labels ``(R, *S)`` of the rows, to a change that asks for them."""


class _Kind(NamedTuple):
    drawn: type[Any]
    values: Callable[[Sequence[Any], Sequence[int]], NDArray[Any]]
    apply: Callable[[Tensor, Step, Codes], Tensor]
    inverted: bool | None = None
    seeds: Callable[[Sequence[Any]], tuple[int, ...]] = lambda _: ()

    def has(self, change: Change) -> bool:
        same = self.inverted is None or self.inverted == getattr(change, "inverted", None)
        return isinstance(change, self.drawn) and same


_KINDS: dict[str, _Kind] = {
    "synthesis": _Kind(
        Synthesis,
        lambda c, _: contrasts.tables(c),
        lambda rows, step, codes: contrasts.synthesise(rows, step.values, codes(), step.axes, step.seeds),
        seeds=contrasts.seeds,
    ),
    "remap": _Kind(
        Remap, lambda c, _: contrasts.curves(c), lambda rows, step, _: contrasts.send(rows, step.values)
    ),
    "bias_field": _Kind(
        BiasField, lambda c, _: tones.coefficients(c), lambda rows, step, _: tones.shade(rows, step.values)
    ),
    "noise": _Kind(
        Noise,
        lambda c, _: noise.deviations(c),
        lambda rows, step, _: noise.add(rows, step.values, step.seeds),
        seeds=noise.seeds,
    ),
    "blur": _Kind(
        Blur, lambda c, _: filters.taps(c), lambda rows, step, _: filters.blur(rows, step.values, step.axes)
    ),
    "brightness": _Kind(
        Brightness, lambda c, _: tones.factors(c), lambda rows, step, _: tones.brighten(rows, step.values)
    ),
    "contrast": _Kind(
        Contrast, lambda c, _: tones.factors(c), lambda rows, step, _: tones.stretch(rows, step.values)
    ),
    "low_resolution": _Kind(
        LowResolution,
        filters.kept_voxels,
        lambda rows, step, _: filters.coarsen(rows, step.values, step.axes),
    ),
    "gamma_inverted": _Kind(
        Gamma,
        lambda c, _: tones.exponents(c),
        lambda rows, step, _: tones.bend(rows, step.values, True),
        True,
    ),
    "gamma": _Kind(
        Gamma,
        lambda c, _: tones.exponents(c),
        lambda rows, step, _: tones.bend(rows, step.values, False),
        False,
    ),
}
"""In the order of `medseg.patches.augment.intensity.draw`."""


def chain_of(changes: Sequence[Sequence[Change]], modalities: int, space: Sequence[int]) -> tuple[Step, ...]:
    """The changes of the samples of a batch, grouped by kind.

    Args:
        changes: of each sample.
        modalities: ``M``.
        space: ``*S`` of a patch.

    Raises:
        ValueError: a sample's changes are not in the order of the kinds.
    """
    steps = []
    for sample in changes:
        order = [k for change in sample for k, kind in enumerate(_KINDS.values()) if kind.has(change)]
        if order != sorted(order) or len(order) != len(sample):
            raise ValueError(f"changes in an order that is not {list(_KINDS)}")
    for name, kind in _KINDS.items():
        hit = [
            (place, change) for place, sample in enumerate(changes) for change in sample if kind.has(change)
        ]
        if hit:
            of_kind = [change for _, change in hit]
            rows = tuple(place * modalities + channel for place, change in hit for channel in change.channels)
            values = torch.from_numpy(np.ascontiguousarray(kind.values(of_kind, space)))
            axes = getattr(of_kind[0], "axes", ())
            steps.append(Step(name, rows, values, axes, kind.seeds(of_kind)))
    return tuple(steps)


def apply(image: Tensor, chain: Sequence[Step], label: Tensor | None = None) -> None:
    """Changes ``(B, M, *S)`` in place, many rows at once.

    Args:
        image: of a batch.
        chain: what is done.
        label: ``(B, 1, *S)`` codes, for changes that look at them.
    """
    rows, modalities = image.flatten(0, 1), image.shape[1]
    at_once = max(1, ROWS // max(1, math.prod(rows.shape[1:])))
    for whole in chain:
        for step in whole.split(at_once):
            codes = partial(_labels, label, [row // modalities for row in step.rows])
            changed = _KINDS[step.kind].apply(_chosen(rows, step.rows), step, codes)
            for row, values in zip(step.rows, changed, strict=True):
                rows[row].copy_(values)


def _labels(label: Tensor | None, samples: Sequence[int]) -> Tensor | None:
    """The labels of these samples, one may be asked for several times."""
    return None if label is None else torch.stack([label[sample, 0] for sample in samples])


def _chosen(rows: Tensor, which: Sequence[int]) -> Tensor:
    """Some rows; neighbours as a view."""
    first, count = which[0], len(which)
    if which == tuple(range(first, first + count)):
        return rows[first : first + count]
    return torch.stack([rows[row] for row in which])
