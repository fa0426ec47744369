"""Networks that share a plan, applied to one prepared case."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from medseg.contracts import Labels
from medseg.data.geometry import Geometry
from medseg.data.plan import Plan
from medseg.errors import UserError
from medseg.files import value_hash
from medseg.inference.bundle import Bundle
from medseg.inference.hardware import choose_device, choose_precision
from medseg.inference.maps import collected
from medseg.inference.mc_dropout import refuse_without_dropout
from medseg.inference.neighbours import Neighbours
from medseg.inference.objects import Found, Search, on_file
from medseg.inference.restore import file_values, matrices_back, resampled_planes
from medseg.inference.scoring import Opinions, WindowScore
from medseg.inference.settings import InferenceSettings
from medseg.inference.sliding_window import score_planes
from medseg.inference.windows import WindowGrid, stretched

_OF_THE_IMAGE = ("zscore", "percentile", "none")
"""Normalisations that take no numbers from a cohort."""


class Predictor:
    """From a prepared image to the label map on the file's grid.

    Args:
        networks: one, or the folds of an ensemble; put into evaluation mode and moved to the device.
        plan: what they were trained with.
        labels: what their outputs mean.
        settings: overlap, flips, precision, device.
        flip_axes: spatial axes that training mirrored; used where ``settings.flips`` is ``"auto"``.
        unseen: modalities beyond those of the plan that come as further images.
        flexible: whether the networks take windows of any multiple of the plan's strides. Windows then
            are up to a quarter longer than the patch, along axes that they hold whole.

    Raises:
        UserError: the device is not there, or dropout passes of a network without dropout.
    """

    def __init__(
        self,
        networks: Sequence[nn.Module],
        plan: Plan,
        labels: Labels,
        settings: InferenceSettings | None = None,
        flip_axes: Sequence[int] = (),
        flexible: bool = False,
        unseen: Sequence[str] = (),
    ) -> None:
        settings = settings or InferenceSettings()
        self.plan, self.labels = with_unseen(plan, unseen), labels
        trained = len(plan.modalities)
        ids = [*range(trained), *(trained for _ in unseen)]
        self._modality_ids = torch.tensor(ids) if unseen else None
        self.device = choose_device(settings.device)
        self.precision = choose_precision(settings.precision, self.device)
        self.networks = [network.to(self.device).eval() for network in networks]
        self.flip_axes = _flip_axes(settings.flips, flip_axes, plan.spatial_dims)
        self._flexible, self._overlap = flexible, settings.overlap
        self._window_batch, self._object_score = settings.window_batch, settings.object_score
        passes = settings.mc_dropout
        for network in self.networks if passes else ():
            refuse_without_dropout(network, "a network of the model")
        self.opinions_per_voxel = len(self.networks) * 2 ** len(self.flip_axes) * max(1, passes)
        self._opinions = Opinions(settings.uncertainty, passes, settings.mc_seed)

    def codes(
        self, image: NDArray[np.float32], present: NDArray[np.bool_], geometry: Geometry
    ) -> NDArray[np.integer]:
        """The prediction in the values and on the grid of the case's files.

        Args:
            image: ``(M, W, H, D)`` in store order; may be memory-mapped.
            present: ``(M,)``, which modalities the case has.
            geometry: the way back.

        Returns:
            ``(W, H, D)`` of shape ``geometry.original_shape``.

        Raises:
            UserError: the device has too little memory.
        """
        axis = self.grid(geometry).cheapest_axis()
        found = collected(self.planes(image, present, geometry, axis), geometry, axis, self.labels)
        return file_values(self.labels)[found.codes]

    def planes(
        self, image: NDArray[np.float32], present: NDArray[np.bool_], geometry: Geometry, axis: int
    ) -> Iterator[Tensor]:
        """Probabilities ``(K, *the two other axes)`` on the cropped grid, along store axis ``axis``.

        With ``settings.uncertainty`` one channel more: the mean entropy of the members.
        """
        score = WindowScore(
            networks=self.networks,
            overlapping=self.labels.overlapping,
            flip_axes=self.flip_axes,
            spatial_dims=self.plan.spatial_dims,
            present=torch.from_numpy(np.array(present, dtype=bool)),
            device=self.device,
            precision=self.precision,
            modality_ids=self._modality_ids,
            opinions=self._opinions,
        )
        grid = self.grid(geometry)
        seen = Neighbours(image, self.plan.slices) if self.plan.slices > 1 else image
        scores = score_planes(seen, score, grid, axis, self._batch(grid))
        try:
            yield from resampled_planes(scores, matrices_back(geometry), axis)
        except torch.OutOfMemoryError:
            fix = "use inference.window_batch=1 or inference.device=cpu"
            raise UserError("inference.window_batch", "windows do not fit in memory", fix) from None

    def objects(
        self, image: NDArray[np.float32], present: NDArray[np.bool_], geometry: Geometry
    ) -> Iterator[Found]:
        """The objects of slices, on the grid of the case's files; without mirrored copies.

        An object comes once for each window and network that found it, see `objects.told_apart`.
        """
        grid, least = self.grid(geometry), self._object_score
        search = Search(self.networks, self.device, self.precision, self._batch(grid), least)
        there = np.array(present, dtype=bool)
        shown = image if there.all() else np.where(there[:, None, None, None], image, np.float32(0))
        seen = Neighbours(shown, self.plan.slices) if self.plan.slices > 1 else shown
        return on_file(search.over(seen, grid), geometry)

    def grid(self, geometry: Geometry) -> WindowGrid:
        """The windows on a case; those of a 2D plan are one slice deep."""
        window = self.plan.patch_size
        if self._flexible:
            axes = zip(geometry.shape, window, self.plan.topology.divisor, strict=False)
            window = tuple(stretched(*axis) for axis in axes)
        i, j, *rest = window
        return WindowGrid.over(geometry.shape, (i, j, rest[0] if rest else 1), self._overlap)

    def _batch(self, grid: WindowGrid) -> int:
        """Windows per forward pass: by default no more voxels than the plan fitted into a training step."""
        if not isinstance(self._window_batch, str):
            return self._window_batch
        return max(1, self.plan.batch_size * prod(self.plan.patch_size) // prod(grid.window))


def _flip_axes(asked: bool | str, trained: Iterable[int], spatial_dims: int) -> tuple[int, ...]:
    if isinstance(asked, str):
        return tuple(sorted(set(trained)))
    return tuple(range(spatial_dims)) if asked else ()


def make_predictors(
    bundles: Sequence[Bundle], settings: InferenceSettings, unseen: Sequence[str] = ()
) -> list[Predictor]:
    """One predictor per plan; bundles with the same plan and flips are averaged window by window.

    Raises:
        UserError: the bundles do not predict the same labels from the same modalities, or one of them
            cannot take the ``unseen`` ones.
    """
    first = bundles[0]
    groups: dict[str, list[Bundle]] = {}
    for bundle in bundles:
        if bundle.labels != first.labels or bundle.plan.modalities != first.plan.modalities:
            raise UserError(
                str(bundle.folder),
                f"has other labels or modalities than {first.folder}",
                "average only models of one task",
            )
        plan = bundle.plan
        windows = [plan.patch_size, plan.strides, plan.multiple, plan.slices, bundle.flexible]
        groups.setdefault(value_hash([plan.preprocessing, *windows, bundle.flip_axes]), []).append(bundle)
    return [_of_one_plan(group, settings, unseen) for group in groups.values()]


def _of_one_plan(bundles: Sequence[Bundle], settings: InferenceSettings, unseen: Sequence[str]) -> Predictor:
    first, networks = bundles[0], [bundle.network() for bundle in bundles]
    for bundle, network in zip(bundles, networks, strict=True):
        if unseen and not getattr(network, "takes_unseen", False):
            problem = f"did not learn to take a modality that it was never shown, as {unseen[0]} is"
            raise UserError(str(bundle.folder), problem, "use a model trained with fusion=agnostic")
    return Predictor(networks, first.plan, first.labels, settings, first.flip_axes, first.flexible, unseen)


def with_unseen(plan: Plan, unseen: Sequence[str]) -> Plan:
    """The plan with further modalities, whose intensities are normalised by themselves.

    They get the scheme that all trained modalities share, if it needs no numbers of a cohort, else zscore.

    Raises:
        UserError: one of them is known to the plan, or named twice.
    """
    known = [name for name in unseen if name in plan.modalities]
    if known:
        raise UserError("unseen", f"{known[0]} is a modality of the model", "leave it out of unseen")
    twice = [name for name in unseen if list(unseen).count(name) > 1]
    if twice:
        raise UserError("unseen", f"{twice[0]} is named twice", "name every modality once")
    alone = dict.fromkeys(unseen, _scheme_alone(list(plan.normalisation.values())))
    modalities, schemes = (*plan.modalities, *unseen), {**plan.normalisation, **alone}
    return replace(plan, modalities=modalities, normalisation=schemes)


def _scheme_alone(trained: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    first = trained[0]
    if first["method"] in _OF_THE_IMAGE and all(scheme == first for scheme in trained):
        return first
    outside = any(scheme.get("nonzero") for scheme in trained)
    return {"method": "zscore", "lower": 0.5, "upper": 99.5, "nonzero": outside}
