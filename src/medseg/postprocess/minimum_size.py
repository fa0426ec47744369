"""No object of a class or region that is too small to be one."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from medseg.contracts import Labels
from medseg.errors import UserError
from medseg.postprocess.components import without_objects
from medseg.postprocess.segmented import Segmented
from medseg.postprocess.step import ObjectStep


class MinimumSize(ObjectStep):
    """Removes the objects that are smaller than a volume.

    Args:
        labels: what the codes mean.
        names: the classes or regions that it is done for; ``None`` for each.
        together: take their union as one mask.
        mm3: the volume of the smallest that stays, on the file's grid; pixels for a picture.

    Raises:
        UserError: a negative volume, or a name that the labels do not have.
    """

    def __init__(
        self,
        labels: Labels,
        *,
        names: Sequence[str] | None = None,
        together: bool = False,
        mm3: float = 50.0,
    ) -> None:
        super().__init__(labels, names=names, together=together)
        if mm3 < 0:
            raise UserError("postprocess.mm3", f"{mm3:g} is negative", "use 0 or more")
        self.mm3 = mm3

    def __call__(self, case: Segmented) -> Segmented:
        """The case without objects below the volume."""
        voxel = prod(case.spacing)
        least = self.mm3 * (1 - 1e-9)  # an object of exactly this volume stays, however its voxels round
        return without_objects(case, self.nesting, self.groups, lambda sizes: sizes * voxel >= least)
