from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from medseg import targets
from medseg.contracts import IGNORE, Batch, Instances, Labels, Progress
from medseg.errors import UserError
from medseg.losses.dice_ce import DiceCE
from medseg.objectives.components import find_instances
from medseg.objectives.instances import InstanceSegmentation

LABELS = Labels(("a", "b"), ((1,), (2,)))
NOW = Progress(step=0, total_steps=10, epoch=0)
SPEC = Path(__file__).parents[3] / "conf" / "objective" / "instances.yaml"
CODES = st.sampled_from([0, 0, 0, 0, 0, 1, 1, 1, 2, 2, IGNORE])
SHAPES = st.one_of(st.tuples(*[st.integers(1, 9)] * 2), st.tuples(*[st.integers(1, 4)] * 3))
Voxel = tuple[int, ...]


def flood(codes: np.ndarray, start: Voxel) -> frozenset[Voxel]:
    """All voxels of the code of ``start`` that it reaches by steps to one of the 8 (26) neighbours."""
    reached, edge = {start}, [start]
    while edge:
        here = edge.pop()
        for step in np.ndindex(*(3,) * codes.ndim):
            there = tuple(int(h + s - 1) for h, s in zip(here, step, strict=True))
            inside = all(0 <= t < n for t, n in zip(there, codes.shape, strict=True))
            if inside and there not in reached and codes[there] == codes[start]:
                reached.add(there)
                edge.append(there)
    return frozenset(reached)


def near_ignored(codes: np.ndarray, voxels: frozenset[Voxel]) -> bool:
    """Whether the box around the voxels, one larger, holds an ignored one."""
    low, high = np.min(list(voxels), axis=0) - 1, np.max(list(voxels), axis=0) + 1
    return any((low <= at).all() and (at <= high).all() for at in np.argwhere(codes == IGNORE))


@settings(deadline=None, max_examples=60)
@given(arrays.arrays(np.uint8, SHAPES, elements=CODES), st.integers(1, 4))
def test_objects_are_what_a_flood_finds(codes: np.ndarray, smallest: int) -> None:
    shown = [tuple(map(int, at)) for at in np.argwhere((codes > 0) & (codes != IGNORE))]
    parts = {flood(codes, at) for at in shown}
    known = {part for part in parts if len(part) >= smallest and not near_ignored(codes, part)}
    found = find_instances(torch.from_numpy(codes), smallest)
    assert found.masks.dtype == found.ignored.dtype == torch.bool
    masks = [frozenset(tuple(at) for at in mask.nonzero().tolist()) for mask in found.masks]
    assert len(masks) == len(set(masks))
    assert set(masks) == known
    assert found.labels.tolist() == [codes[next(iter(mask))] for mask in masks]
    ignored = {tuple(at) for at in found.ignored.nonzero().tolist()}
    unknown = {tuple(map(int, at)) for at in np.argwhere(codes == IGNORE)}
    assert ignored == unknown.union(*(parts - known))


def test_an_empty_patch_has_no_object() -> None:
    found = find_instances(torch.zeros(4, 6, dtype=torch.uint8))
    assert found.masks.shape == (0, 4, 6)
    assert found.labels.shape == (0,)
    assert not found.ignored.any()


class Finder(torch.nn.Module):
    """Remembers what it was asked, and answers with two losses."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))
        self.seen: list[Sequence[Instances]] = []

    def instance_losses(self, image: torch.Tensor, instances: Sequence[Instances]) -> dict[str, torch.Tensor]:
        self.seen.append(instances)
        count = sum(len(each.labels) for each in instances)
        return {"count": self.weight * count, "size": self.weight.square() * image.shape[0]}


class Wrapped(torch.nn.Module):
    def __init__(self, *networks: torch.nn.Module) -> None:
        super().__init__()
        self.networks = torch.nn.ModuleList(networks)


@pytest.fixture
def batch() -> Batch:
    label = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
    label[0, 0, 1:3, 1:3] = 1
    label[0, 0, 5:8, 5:8] = 2
    label[0, 0, 0, 7] = 1
    return Batch(
        image=torch.zeros(2, 1, 8, 8),
        label=label,
        present=torch.ones(2, 1, dtype=torch.bool),
        index=torch.zeros(2, 2, dtype=torch.int64),
        case=["one", "two"],
    )


def test_the_file_states_the_default_and_the_source_what_it_needs() -> None:
    spec = yaml.safe_load(SPEC.read_text())
    facts = targets.constants(spec["_target_"])
    assert facts["STREAMS"] == ("labelled",)
    assert facts["NEEDS_INSTANCES"] is True
    assert facts["DEEP_SUPERVISION"] is False
    known = targets.parameters(spec.pop("_target_"))
    assert spec == {p.name: p.default for p in known if p.keyword_only}


def test_a_step_asks_the_network_within_for_its_losses(batch: Batch) -> None:
    finder, objective = Finder(), InstanceSegmentation(DiceCE(LABELS))
    network = Wrapped(finder)
    objective.attach(network)
    found = objective.step(network, {"labelled": batch}, NOW)
    assert {name: float(value.detach()) for name, value in found.items()} == {
        "loss": 4.0,
        "count": 2.0,
        "size": 2.0,
    }
    first, second = finder.seen[0]
    assert (len(first.labels), len(second.labels)) == (2, 0)
    assert first.ignored.sum() == 1, "the lone voxel is smaller than three"
    found["loss"].backward()
    assert finder.weight.grad == 2 + 2 * 2
    assert not found["count"].requires_grad
    assert list(objective.parameters()) == []


@pytest.mark.parametrize("networks", [(torch.nn.Conv2d(1, 1, 1),), (Finder(), Finder())])
def test_one_network_must_find_objects(networks: tuple[torch.nn.Module, ...]) -> None:
    with pytest.raises(UserError, match=r"here are [02].*use network=mask_rcnn"):
        InstanceSegmentation(DiceCE(LABELS)).attach(Wrapped(*networks))


def test_regions_that_overlap_are_refused() -> None:
    regions = Labels(("whole", "core"), ((1, 2), (2,)), overlapping=True)
    with pytest.raises(UserError, match="exclusive classes"):
        InstanceSegmentation(DiceCE(regions))


def test_a_size_out_of_range_and_a_batch_without_labels_are_refused(batch: Batch) -> None:
    with pytest.raises(UserError, match="smallest"):
        InstanceSegmentation(DiceCE(LABELS), smallest=0)
    batch.label = None
    with pytest.raises(UserError, match="without a label"):
        InstanceSegmentation(DiceCE(LABELS)).step(Finder(), {"labelled": batch}, NOW)
