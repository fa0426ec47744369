"""The way from a file's grid to the store's and, exactly, back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medseg.data.resample import axis_orders, resample_codes
from medseg.errors import UserError

if TYPE_CHECKING:
    from medseg.data.formats.volume import Volume

Triple = tuple[int, int, int]
Spacing = tuple[float, float, float]
TOLERANCE = 0.1
"""Share of the smallest voxel edge by which two grids may lie apart before they count as different."""


@dataclass(frozen=True)
class Geometry:
    """What was done to a case's grid. All axes are the store's unless said otherwise.

    Attributes:
        original_shape: voxels per axis of the file.
        affine: the file's, ``(4, 4)``, voxel index -> RAS mm.
        permutation: the file's axis behind each axis of the store.
        flips: whether an axis runs against the file's.
        crop: per axis the first voxel and the one after the last that were kept.
        spacing: mm per voxel before resampling.
        target_spacing: mm per voxel after it, as asked for.
        shape: voxels per axis in the store.
        spatial_dims: of the plan; with 2 the slices along the last axis were not mixed.
    """

    original_shape: Triple
    affine: tuple[tuple[float, ...], ...]
    permutation: Triple
    flips: tuple[bool, bool, bool]
    crop: tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
    spacing: Spacing
    target_spacing: Spacing
    shape: Triple
    spatial_dims: int

    @property
    def oriented_shape(self) -> Triple:
        """Voxels per axis after turning, before cropping."""
        i, j, k = (self.original_shape[axis] for axis in self.permutation)
        return i, j, k

    @property
    def cropped_shape(self) -> Triple:
        """Voxels per axis after cropping, before resampling."""
        i, j, k = (stop - start for start, stop in self.crop)
        return i, j, k

    @property
    def crop_slices(self) -> tuple[slice, slice, slice]:
        """The box that was kept."""
        i, j, k = (slice(start, stop) for start, stop in self.crop)
        return i, j, k

    @property
    def voxel_size(self) -> Spacing:
        """The store's voxels in mm; shapes are whole numbers, so it is the target only nearly."""
        i, j, k = (s * n / m for s, n, m in zip(self.spacing, self.cropped_shape, self.shape, strict=True))
        return i, j, k

    def orders(self, order: int) -> Triple:
        """The interpolation order per axis on the way to the store."""
        return axis_orders(self.spacing, self.target_spacing, order, in_plane=self.spatial_dims == 2)

    def orders_back(self, order: int) -> Triple:
        """The interpolation order per axis on the way back."""
        return axis_orders(self.target_spacing, self.spacing, order, in_plane=self.spatial_dims == 2)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Geometry:
        """From JSON values."""
        return cls(**{key: _tuples(value) for key, value in values.items()})


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value


def orientation(affine: NDArray[np.float64], where: str = "affine") -> tuple[Triple, tuple[bool, bool, bool]]:
    """The turn that brings a file's axes nearest to RAS+.

    Returns:
        For each axis of RAS the file's axis behind it, and whether it must be flipped.

    Raises:
        UserError: the affine is singular or not finite.
    """
    from nibabel.orientations import io_orientation

    fix = "correct the header's orientation"
    if not np.isfinite(affine).all():
        raise UserError(where, "the affine has NaN or infinite entries", fix)
    turns = io_orientation(affine)
    if np.isnan(turns).any():
        raise UserError(where, "the affine is singular: an axis has no direction", fix)
    behind = [int(np.flatnonzero(turns[:, 0] == axis)[0]) for axis in range(3)]
    i, j, k = behind
    flip_i, flip_j, flip_k = (bool(turns[axis, 1] < 0) for axis in behind)
    return (i, j, k), (flip_i, flip_j, flip_k)


def orientation_code(affine: NDArray[np.float64], where: str = "affine") -> str:
    """Where the file's axes point, as in ``"LPS"``."""
    behind, flips = orientation(affine, where)
    ends = {behind[axis]: ("LPI" if flips[axis] else "RAS")[axis] for axis in range(3)}
    return "".join(ends[axis] for axis in range(3))


def store_turn(
    affine: NDArray[np.float64], axes: Sequence[int], where: str = "affine"
) -> tuple[Triple, tuple[bool, bool, bool]]:
    """The turn from the file's axes to the store's: canonical, then permuted by ``axes``."""
    behind, flips = orientation(affine, where)
    i, j, k = (behind[axis] for axis in axes)
    flip_i, flip_j, flip_k = (flips[axis] for axis in axes)
    return (i, j, k), (flip_i, flip_j, flip_k)


def turn(array: NDArray[Any], permutation: Sequence[int], flips: Sequence[bool]) -> NDArray[Any]:
    """A view of ``(W, H, D)`` with the axes in another order and direction."""
    return array.transpose(permutation)[tuple(slice(None, None, -1 if flip else 1) for flip in flips)]


def turn_back(array: NDArray[Any], permutation: Sequence[int], flips: Sequence[bool]) -> NDArray[Any]:
    """The inverse view of `turn`."""
    unflipped = array[tuple(slice(None, None, -1 if flip else 1) for flip in flips)]
    return unflipped.transpose(np.argsort(permutation))


def grid_difference(one: Volume, other: Volume) -> str | None:
    """In what two grids differ: the shape, or the place of a corner by more than a tenth of a voxel."""
    if one.array.shape != other.array.shape:
        return f"another shape {other.array.shape} instead of {one.array.shape}"
    corners = np.array([[i, j, k, 1] for i in (0, 1) for j in (0, 1) for k in (0, 1)], dtype=np.float64)
    corners[:, :3] *= np.array(one.array.shape) - 1
    shift = float(np.abs(corners @ (one.affine - other.affine).T).max())
    return (
        f"the voxels lie up to {shift:.3g} mm elsewhere"
        if not shift <= TOLERANCE * min(one.spacing)
        else None
    )


def nonzero_box(arrays: Sequence[NDArray[Any]]) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """The smallest box that holds every voxel that is not zero in some array; all of it if there is none."""
    shape = arrays[0].shape
    low, high = np.array(shape), np.zeros(3, dtype=int)
    for array in arrays:
        filled = array != 0
        for axis in range(3):
            hit = np.flatnonzero(filled.any(axis=tuple(a for a in range(3) if a != axis)))
            if len(hit):
                low[axis], high[axis] = min(low[axis], hit[0]), max(high[axis], hit[-1] + 1)
    if not (low < high).all():
        low, high = np.zeros(3, dtype=int), np.array(shape)
    i, j, k = ((int(start), int(stop)) for start, stop in zip(low, high, strict=True))
    return i, j, k


def restore_codes(codes: NDArray[np.uint8], geometry: Geometry, fill: int = 0) -> NDArray[np.uint8]:
    """Brings a label map ``(W, H, D)`` of the store back to the file's grid.

    Exact where nothing was resampled. Codes are resampled one by one; logits, where there are any, give
    smoother borders.

    Args:
        codes: in store order, shape ``geometry.shape``.
        geometry: of the case.
        fill: what stands outside the crop.

    Returns:
        An array of shape ``geometry.original_shape``, C-contiguous.
    """
    if tuple(codes.shape) != geometry.shape:
        raise ValueError(f"codes of shape {codes.shape} are not on the store's grid {geometry.shape}")
    fine = resample_codes(codes, geometry.cropped_shape, geometry.orders_back(1))
    whole = np.full(geometry.oriented_shape, fill, dtype=np.uint8)
    whole[geometry.crop_slices] = fine
    return np.ascontiguousarray(turn_back(whole, geometry.permutation, geometry.flips))
