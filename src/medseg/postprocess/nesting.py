"""From codes to the mask of a class or region and back, so that regions stay inside one another.

Codes are what is written to the file, so no edit of them can tear an inner region out of its outer one.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from medseg.contracts import Labels
from medseg.errors import UserError
from medseg.postprocess.segmented import Codes

Mask = NDArray[np.bool_]


class Nesting:
    """Which codes belong to which name.

    Args:
        labels: classes, of which a voxel has one, or regions, of which it may have several.
    """

    def __init__(self, labels: Labels) -> None:
        self.labels = labels

    @cached_property
    def memberships(self) -> tuple[frozenset[int], ...]:
        """Per code, background first, the names that a voxel of it belongs to, as positions from 0."""
        if not self.labels.overlapping:
            return (frozenset[int](), *(frozenset({k}) for k in range(len(self.labels.names))))
        rows = [
            frozenset(k for k, row in enumerate(self.labels.values) if value in row)
            for value in self.labels.painted
        ]
        return (frozenset[int](), *rows)

    def positions(self, names: Sequence[str] | None, where: str) -> tuple[int, ...]:
        """The places of ``names``, or of all.

        Raises:
            UserError: a name that the labels do not have.
        """
        known = self.labels.names
        for name in names or ():
            if name not in known:
                raise UserError(where, f"there is no {name!r}", f"use one of {', '.join(known)}")
        return tuple(known.index(name) for name in names) if names is not None else tuple(range(len(known)))

    def mask(self, codes: Codes, names: Collection[int]) -> Mask:
        """``(W, H, D)`` bool: the union of some names."""
        inside = np.array([bool(row & {*names}) for row in self.memberships])
        mask: Mask = inside[codes]
        return mask

    def without(self, codes: Codes, names: Collection[int], where: Mask) -> Codes:
        """The codes with the voxels of ``where`` taken out of ``names``.

        A voxel falls to what encloses it: from an inner region to the outer one, else to the background.
        """
        table = np.array([self._largest(row - {*names}) for row in self.memberships], dtype=np.uint8)
        return np.where(where, table[codes], codes)

    def added(self, codes: Codes, name: int, where: Mask) -> Codes:
        """The codes with the voxels of ``where`` put into a name; those of another class keep theirs."""
        wider = self.memberships[name + 1]
        free = np.array([row < wider for row in self.memberships])
        return np.where(where & free[codes], np.uint8(name + 1), codes)

    def _largest(self, allowed: frozenset[int]) -> int:
        """The code that belongs to as many of the ``allowed`` names as possible and to no other."""
        fitting = [code for code, row in enumerate(self.memberships) if row <= allowed]
        return max(fitting, key=lambda code: (len(self.memberships[code]), -code))
