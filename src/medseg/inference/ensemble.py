"""Several predictors on one case: the mean of their probabilities, though their plans may differ.

Models of different folds may have been given different spacings, patches or axis orders. Each answers on
its own grid; they meet on the file's grid, plane by plane, so that no volume of probabilities is held.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from medseg.data.formats import Volume
from medseg.data.geometry import Geometry
from medseg.data.preprocess import Prepared, preprocess_case
from medseg.files import value_hash
from medseg.inference.maps import Maps, Wanted, collected
from medseg.inference.object_table import Line, lines_of
from medseg.inference.objects import told_apart
from medseg.inference.predictor import Predictor
from medseg.inference.restore import file_values

Preparations = dict[str, Prepared]
"""A case as each distinct way of preprocessing leaves it."""


def prepare(
    predictors: Sequence[Predictor], volumes: Mapping[str, Volume], names: Mapping[str, str] | None = None
) -> Preparations:
    """Preprocesses a case once for each distinct way that the predictors' plans ask for.

    Args:
        predictors: of one task.
        volumes: modality -> voxels, for those that the case has.
        names: modality -> what to call it in messages, such as its file.

    Raises:
        UserError: the volumes cannot be used.
    """
    plans = {_key(predictor): predictor.plan for predictor in predictors}
    labels = predictors[0].labels
    return {key: preprocess_case(volumes, None, plan, labels, names) for key, plan in plans.items()}


def predict_prepared(predictors: Sequence[Predictor], prepared: Preparations) -> NDArray[np.integer]:
    """The label map ``(W, H, D)`` on the file's grid, in the file's values, as the networks give it."""
    return file_values(predictors[0].labels)[maps_prepared(predictors, prepared).codes]


def maps_prepared(
    predictors: Sequence[Predictor], prepared: Preparations, wanted: Wanted | None = None
) -> Maps:
    """The codes on the file's grid, and what else is ``wanted``.

    Each network has one vote, whichever predictor it belongs to.
    """
    geometry = prepared[_key(predictors[0])].geometry
    axis = predictors[0].grid(geometry).cheapest_axis()
    streams = [_planes(p, prepared[_key(p)], geometry, axis) for p in predictors]
    votes = [len(predictor.networks) for predictor in predictors]
    return collected(_mean(streams, votes), geometry, axis, predictors[0].labels, wanted)


def members(predictors: Sequence[Predictor]) -> int:
    """How many opinions a probability is the mean of: networks, mirrored copies, dropout passes."""
    return sum(predictor.opinions_per_voxel for predictor in predictors)


def objects_prepared(
    predictors: Sequence[Predictor], prepared: Preparations
) -> tuple[NDArray[np.uint16], list[Line]]:
    """The instance map ``(W, H, D)`` on the file's grid and a line per object, all networks' together."""
    geometry = prepared[_key(predictors[0])].geometry
    cases = [(predictor, prepared[_key(predictor)]) for predictor in predictors]
    found = [one for p, case in cases for one in p.objects(case.image, case.present, case.geometry)]
    ids, kept = told_apart(found, geometry.original_shape)
    return ids, lines_of(ids, kept, geometry, predictors[0].labels)


def _key(predictor: Predictor) -> str:
    return value_hash(predictor.plan.preprocessing)


def _planes(predictor: Predictor, prepared: Prepared, like: Geometry, axis: int) -> Iterator[Tensor]:
    """Planes across ``axis`` of the store that ``like`` describes, whatever the predictor's own axes are.

    Both stores run in the same directions along the file's axes, so only the order of axes can differ.
    """
    own = prepared.geometry.permutation
    own_axis = own.index(like.permutation[axis])
    planes = predictor.planes(prepared.image, prepared.present, prepared.geometry, own_axis)
    own_order = [own[a] for a in range(3) if a != own_axis]
    order = [like.permutation[a] for a in range(3) if a != axis]
    return planes if own_order == order else (plane.transpose(1, 2) for plane in planes)


def _mean(streams: Sequence[Iterator[Tensor]], votes: Sequence[int]) -> Iterator[Tensor]:
    for planes in zip(*streams, strict=True):
        total = planes[0] * (votes[0] / sum(votes))
        for plane, share in zip(planes[1:], votes[1:], strict=True):
            total = total + plane * (share / sum(votes))
        yield total
