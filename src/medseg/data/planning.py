"""How a plan is decided: grid, pyramid, patch, batch, width and precision for the machine found."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from medseg.contracts import Labels
from medseg.data.fingerprint import Fingerprint
from medseg.data.machine import Machine
from medseg.data.plan_cost import Cost, step_cost
from medseg.data.plan_rules import median_shape, normalisation, store_axes, target_spacing
from medseg.data.plan_topology import PyramidShape, divisor, legal_pyramid, nearest_legal, pyramid, widths
from medseg.data.resample import ANISOTROPY
from medseg.data.settings import PlanSettings
from medseg.errors import Problems, UserError

CPU_SECONDS = 0.6
"""Of a training step on a CPU: half an hour then has 3,000 steps, which small networks need."""
GPU_MEMORY_GB = 12.0
"""Of a step on a GPU unless asked for: larger patches gain little and cost time (nnU-Net's default is 8)."""
MEMORY_SHARE = {"cuda": 0.8, "cpu": 0.4}
"""Of the device's memory; a CPU's is also the loader's and the file cache's."""
LARGEST_PATCH = {("cpu", 2): 512, ("cpu", 3): 128, ("cuda", 2): 1024, ("cuda", 3): 256}
"""Voxels per axis to start from, the geometric mean over the axes in 3D."""
SMALLEST_PATCH = {2: 64**2, 3: 32**3}
"""Voxels below which a patch shows too little; a slower step is taken instead."""
BATCHES = {("cpu", 2): (4, 16), ("cpu", 3): (2, 4), ("cuda", 2): (8, 48), ("cuda", 3): (2, 8)}
"""Patches per step: what the patch size is made to leave room for, and at most."""
WIDTHS = {"cpu": (16, 24, 32), "cuda": (32,)}
"""Channels of the first level, the wider the better as far as the step's budget allows."""
MAX_WIDTHS = {("cpu", 2): 256, ("cpu", 3): 256, ("cuda", 2): 512, ("cuda", 3): 320}
BATCH_SHARE = 0.05
"""Share of all training voxels that more than twice the least batch may have (after nnU-Net)."""


class Planner:
    """Derives one plan; `decisions` has the fields of `medseg.data.plan.Plan`."""

    def __init__(self, fp: Fingerprint, labels: Labels, settings: PlanSettings, machine: Machine) -> None:
        self.fp, self.labels, self.settings, self.machine = fp, labels, settings, machine
        self.reasons: dict[str, str] = {}
        self.dims = self._dims()
        self.key = (machine.device, self.dims)
        self.precision = self._precision()
        self.memory_gb = settings.memory_gb or self._memory()
        self.seconds = settings.seconds_per_step or (CPU_SECONDS if machine.gflops else math.inf)
        self.max_width = settings.max_width or MAX_WIDTHS[self.key]

    def decisions(self) -> dict[str, Any]:
        """Every field of the plan.

        Raises:
            UserError: a setting contradicts the cohort.
        """
        axes, self.reasons["axes"] = store_axes(self.fp, self.dims)
        spacing = self._spacing(axes)
        shape = median_shape(self.fp, axes, spacing, self.dims)
        schemes, why = normalisation(self.fp, self.settings.normalisation)
        self.reasons |= {f"normalisation of {m}": line for m, line in why.items() if line}
        patch, batch, width = self._fit(shape, spacing)
        self._explain(shape, patch, batch, width)
        return {
            "spatial_dims": self.dims,
            "modalities": tuple(self.fp.modalities),
            "axes": axes,
            "spacing": spacing,
            "patch_size": patch.patch_size,
            "batch_size": batch,
            "strides": patch.strides,
            "kernels": patch.kernels,
            "widths": widths(len(patch.strides), width, self.max_width),
            "normalisation": schemes,
            "in_plane_only": self._in_plane_only(spacing, patch),
            "precision": self.precision,
            "multiple": self.settings.multiple,
            "slices": self._slices(),
            "fingerprint_hash": self.fp.hash,
            "reasons": self.reasons,
        }

    def _dims(self) -> int:
        wish = self.settings.spatial_dims
        if self.fp.spatial_dims == 2:
            if wish == 3:
                raise UserError("plan.spatial_dims", "3, but the cohort is of pictures", "use 2 or auto")
            self.reasons["spatial_dims"] = "the cohort is of pictures"
            return 2
        self.reasons["spatial_dims"] = "volumes" if wish == "auto" else "as asked"
        return 3 if wish == "auto" else int(wish)

    def _slices(self) -> int:
        if self.settings.slices > 1 and (self.dims == 3 or self.fp.spatial_dims == 2):
            where = "3D" if self.dims == 3 else "of pictures"
            problem = f"{self.settings.slices}, but the plan is {where}"
            raise UserError("plan.slices", problem, "use plan=2d on a cohort of volumes, or plan.slices=1")
        return self.settings.slices

    def _precision(self) -> str:
        if self.settings.precision != "auto":
            self.reasons["precision"] = "as asked"
            return self.settings.precision
        can = "multiplies" if self.machine.bf16 else "does not multiply"
        self.reasons["precision"] = f"{self.machine.name} {can} bfloat16 in hardware"
        return self.machine.precision

    def _memory(self) -> float:
        share = self.machine.memory_gb * MEMORY_SHARE[self.machine.device]
        return min(share, GPU_MEMORY_GB) if self.machine.device == "cuda" else share

    def _spacing(self, axes: Sequence[int]) -> tuple[float, float, float]:
        spacing, self.reasons["spacing"] = target_spacing(self.fp, axes)
        if self.settings.spacing is None:
            return spacing
        wish = [float(s) for s in self.settings.spacing]
        if len(wish) == 2 and self.dims == 3:
            raise UserError("plan.spacing", f"{wish} has 2 axes, the plan 3", "give 3 numbers of mm")
        self.reasons["spacing"] = "as asked"
        i, j, k = [*wish, spacing[2]][:3]
        return i, j, k

    def _fit(self, shape: Sequence[float], spacing: Sequence[float]) -> tuple[PyramidShape, int, int]:
        """The largest patch, then batch, then width that a step's memory and time allow."""
        floor, most = BATCHES[self.key]
        choices = WIDTHS[self.machine.device]
        width = self.settings.width or choices[0]
        batch = self.settings.batch_size or floor
        patch = self._asked_patch(spacing) or self._largest_patch(shape, spacing, batch, width)
        most = max(2 * floor, min(most, self._batch_by_voxels(shape, patch)))
        while self.settings.batch_size is None and batch < most and self._fits(patch, batch + 1, width):
            batch += 1
        for wider in choices if self.settings.width is None else ():
            width = wider if self._fits(patch, batch, wider) else width
        return patch, batch, width

    def _asked_patch(self, spacing: Sequence[float]) -> PyramidShape | None:
        wish = self.settings.patch_size
        if wish is None:
            return None
        if len(wish) != self.dims:
            raise UserError("plan.patch_size", f"{wish} has {len(wish)} axes", f"give {self.dims}")
        shape = pyramid(wish, spacing[: self.dims], self.settings.max_levels)
        steps = divisor(shape.strides, self.settings.multiple)
        if any(n % d for n, d in zip(wish, steps, strict=True)):
            legal = list(nearest_legal(wish, shape.strides, self.settings.multiple))
            problem = f"{wish} is not a multiple of its strides {list(steps)}"
            raise UserError("plan.patch_size", problem, f"the nearest is {legal}, or lower plan.max_levels")
        return shape

    def _largest_patch(
        self, shape: Sequence[float], spacing: Sequence[float], batch: int, width: int
    ) -> PyramidShape:
        """Starts from the median case and shortens the axis that shows most of it until the step fits."""
        step = spacing[: self.dims]
        # As many mm on each axis, as long as the case has them (nnU-Net's start).
        edge = LARGEST_PATCH[self.key] * math.prod(step) ** (1 / self.dims)
        size = [max(1, min(math.ceil(n), round(edge / s))) for n, s in zip(shape, step, strict=False)]
        levels, multiple = self.settings.max_levels, self.settings.multiple
        patch = legal_pyramid(size, step, levels, multiple)
        while not self._fits(patch, batch, width) and math.prod(patch.patch_size) > SMALLEST_PATCH[self.dims]:
            steps = divisor(patch.strides, multiple)
            shown = [n / m if n > d else 0 for n, m, d in zip(patch.patch_size, shape, steps, strict=False)]
            if not any(shown):
                break
            axis = shown.index(max(shown))
            size = list(patch.patch_size)
            size[axis] -= steps[axis]
            smaller = legal_pyramid(size, step, levels, multiple)
            if smaller.patch_size == patch.patch_size:
                break
            patch = smaller
        return patch

    def _batch_by_voxels(self, shape: Sequence[float], patch: PyramidShape) -> int:
        slices = 1.0 if self.dims == 3 else float(shape[2])
        voxels = math.prod(shape[: self.dims]) * slices * len(self.fp.cases)
        return int(voxels * BATCH_SHARE / math.prod(patch.patch_size))

    def _cost(self, patch: PyramidShape, batch: int, width: int) -> Cost:
        channels = widths(len(patch.strides), width, self.max_width)
        return step_cost(
            patch,
            channels,
            batch,
            channels=len(self.fp.modalities) * self.settings.slices,
            classes=self.labels.out_channels,
            precision=self.precision,
        )

    def _fits(self, patch: PyramidShape, batch: int, width: int) -> bool:
        cost = self._cost(patch, batch, width)
        return cost.memory_gb <= self.memory_gb and self._takes(cost) <= self.seconds

    def _takes(self, cost: Cost) -> float:
        """Estimated seconds of a step; 0 where speed is no constraint."""
        speed = self.machine.speed(self.precision)
        return cost.gflop / speed if speed else 0.0

    def _in_plane_only(self, spacing: Sequence[float], patch: PyramidShape) -> bool:
        if self.dims == 2:
            self.reasons["in_plane_only"] = "the plan is of slices"
            return True
        extent = [n * s for n, s in zip(patch.patch_size, spacing, strict=True)]
        if max(spacing) > ANISOTROPY * min(spacing):
            self.reasons["in_plane_only"] = f"slices lie {max(spacing) / min(spacing):.1f} voxel widths apart"
            return True
        if max(patch.patch_size) > ANISOTROPY * min(patch.patch_size):
            self.reasons["in_plane_only"] = f"the patch is flat: {[round(e) for e in extent]} mm"
            return True
        self.reasons["in_plane_only"] = "slices are near enough to turn the patch in space"
        return False

    def _explain(self, shape: Sequence[float], patch: PyramidShape, batch: int, width: int) -> None:
        cost = self._cost(patch, batch, width)
        if cost.memory_gb > self.memory_gb and self.settings.patch_size is None:
            need = f"{cost.memory_gb:.1f} GB for the smallest sensible step, {self.memory_gb:.1f} allowed"
            raise Problems([f"plan.memory_gb: {need}; allow more or set plan.patch_size, batch_size, width"])
        asked, wish = self.settings, "as asked"
        budget = f"{self.memory_gb:.1f} GB" + (f" and {self.seconds:.1f} s" if self.machine.gflops else "")
        takes = f"{cost.memory_gb:.1f} GB" + (
            f" and {self._takes(cost):.1f} s" if self.machine.gflops else ""
        )
        median = [round(n) for n in shape[: self.dims]]
        fit = f"the median case is {median} voxels; a step may take {budget} on {self.machine.name}"
        self.reasons["patch_size"] = wish if asked.patch_size else fit
        few = f"a step is estimated at {takes}"
        self.reasons["batch_size"] = wish if asked.batch_size else few
        self.reasons["widths"] = wish if asked.width else f"from {width}, at most {self.max_width}; {few}"
        self.reasons["strides"] = "each axis is halved while it has 8 voxels and is not the coarse one"
        self.reasons["kernels"] = "1 on an axis as long as it is twice as coarse as another, else 3"
