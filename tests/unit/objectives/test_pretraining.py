from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from medseg import targets
from medseg.contracts import Batch, Labels, Progress, Pyramid
from medseg.errors import UserError
from medseg.losses.dice_ce import DiceCE
from medseg.objectives.masked_image_modelling import MaskedImageModelling, hide_boxes
from medseg.objectives.pretraining import Pretraining
from medseg.objectives.reconstruction_head import ReconstructionHead
from medseg.objectives.simclr import SimCLR, pool

LOSS = DiceCE(Labels(("a",), ((1,),)))
NOW = Progress(step=0, total_steps=10, epoch=0)
CONF = Path(__file__).parents[3] / "conf" / "objective"
KINDS: dict[str, type[Pretraining]] = {"simclr": SimCLR, "masked_image_modelling": MaskedImageModelling}


class Down(nn.Module):
    """Two levels, and beside them what the deepest does not depend on; remembers what it was shown."""

    def __init__(self, modalities: int = 2) -> None:
        super().__init__()
        self.levels = Pyramid(2, (4, 6), ((1, 1), (2, 2)))
        self.in_channels, self.patch_size = modalities, (8, 8)
        self.body = nn.Conv2d(modalities, 4, 3, padding=1)
        self.tap = nn.Conv2d(4, 4, 1)
        self.deep = nn.Conv2d(4, 6, 2, 2)
        self.seen: list[Tensor] = []

    def forward(self, image: Tensor, present: Tensor | None = None) -> list[Tensor]:
        self.seen.append(image.detach())
        features = self.body(image).relu()
        return [self.tap(features), self.deep(features)]


def make_batch(count: int = 4, seed: int = 0) -> Batch:
    image = torch.randn(count, 2, 8, 8, generator=torch.Generator().manual_seed(seed))
    present = torch.ones(count, 2, dtype=torch.bool)
    present[0, 1] = False
    image[0, 1] = 0
    index = torch.zeros(count, 2, dtype=torch.int64)
    return Batch(image, None, present, index, [f"case_{k}" for k in range(count)])


def attached(objective: Pretraining) -> Down:
    torch.manual_seed(0)
    network = Down()
    objective.attach(network)
    return network


@pytest.mark.parametrize("name", KINDS)
def test_the_file_states_the_defaults_and_the_source_what_it_needs(name: str) -> None:
    spec = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    facts = targets.constants(spec["_target_"])
    assert facts["STREAMS"] == ("unlabelled",)
    assert facts["PRETRAINS"] is True
    assert facts["DEEP_SUPERVISION"] is False
    known = targets.parameters(spec.pop("_target_"))
    assert spec == {p.name: p.default for p in known if p.keyword_only}


@pytest.mark.parametrize("name", KINDS)
def test_training_with_it_learns(name: str) -> None:
    objective = KINDS[name](LOSS)
    network = attached(objective)
    weights = [p for p in [*network.parameters(), *objective.parameters()] if p.requires_grad]
    optimizer = torch.optim.Adam(weights, 0.01)
    losses = []
    batch = make_batch()
    batch.image += torch.linspace(-2, 2, 4)[:, None, None, None] * batch.present[:, :, None, None]
    for step in range(80):
        torch.manual_seed(step)
        loss = objective.step(network, {"unlabelled": batch}, NOW)["loss"]
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        objective.after_step(network, NOW)
        losses.append(float(loss.detach()))
    assert sum(losses[-10:]) < 0.9 * sum(losses[:10])


@pytest.mark.parametrize(
    ("objective", "frozen"),
    [
        (SimCLR(LOSS), {"tap.weight", "tap.bias"}),
        (SimCLR(LOSS, local_weight=1.0, local_level=0), set()),
        (MaskedImageModelling(LOSS), set()),
    ],
)
def test_what_the_loss_does_not_reach_is_frozen_and_all_else_gets_a_gradient(
    objective: Pretraining, frozen: set[str]
) -> None:
    network = attached(objective)
    assert network.seen == [], "nothing was computed"
    assert {name for name, p in network.named_parameters() if not p.requires_grad} == frozen
    objective.step(network, {"unlabelled": make_batch()}, NOW)["loss"].backward()  # type: ignore[no-untyped-call]
    every = [*network.named_parameters(), *objective.named_parameters()]
    assert [name for name, p in every if p.requires_grad and p.grad is None] == []


def test_simclr_tells_what_it_found() -> None:
    objective = SimCLR(LOSS, local_weight=0.5)
    found = objective.step(attached(objective), {"unlabelled": make_batch()}, NOW)
    total = float(found["global"]) + 0.5 * float(found["local"])
    assert float(found["loss"].detach()) == pytest.approx(total, rel=1e-5)
    assert 0 <= float(found["matched"]) <= 1
    assert not any(found[name].requires_grad for name in ("matched", "global", "local"))


def test_a_lone_patch_is_refused() -> None:
    objective = SimCLR(LOSS)
    with pytest.raises(UserError, match=r"plan\.batch_size"):
        objective.step(attached(objective), {"unlabelled": make_batch(1)}, NOW)


def test_pooling_keeps_mean_and_maximum() -> None:
    features = torch.arange(8.0).reshape(1, 2, 2, 2)
    assert pool(features).tolist() == [[1.5, 5.5, 3.0, 7.0]]


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 2**32 - 1),
    st.lists(st.integers(1, 9), min_size=2, max_size=3),
    st.integers(2, 5),
    st.floats(0.01, 0.99),
)
def test_boxes_are_whole_and_as_many_as_asked_for(
    seed: int, size: list[int], boxes: int, share: float
) -> None:
    torch.manual_seed(seed)
    hidden = hide_boxes(3, size, boxes, share)
    assert hidden.shape == (3, *size)
    grid = [min(boxes, n) for n in size]
    total = math.prod(grid)
    for mask in hidden:
        state: dict[tuple[int, ...], bool] = {}
        for place in torch.cartesian_prod(*[torch.arange(n) for n in size]).tolist():
            box = tuple(at * parts // n for at, parts, n in zip(place, grid, size, strict=True))
            value = bool(mask[tuple(place)])
            assert state.setdefault(box, value) == value, "a box is hidden as a whole"
        assert len(state) == total
        expected = min(max(1, round(share * total)), max(1, total - 1))
        assert sum(state.values()) == expected


@pytest.mark.parametrize("together", [True, False])
def test_what_is_hidden_is_not_seen_and_only_it_is_judged(together: bool) -> None:
    objective = MaskedImageModelling(LOSS, boxes=4, together=together)
    network, batch = attached(objective), make_batch()
    torch.manual_seed(5)
    found = objective.step(network, {"unlabelled": batch}, NOW)["loss"]
    shown = network.seen[-1]
    hidden = (shown != batch.image) & batch.present[:, :, None, None]
    assert not shown[hidden].any()
    per_mask = hidden.flatten(2).float().mean(2)
    assert per_mask[1:].unique().tolist() == [10 / 16]
    assert torch.equal(hidden[1:, 0], hidden[1:, 1]) == together
    assert not hidden[0, 1].any(), "a missing modality is nothing to guess"
    guess = objective.head(network(shown, batch.present), (8, 8))
    errors = [
        float((guess[at] - batch.image[at]).abs().detach()) for at in map(tuple, hidden.nonzero().tolist())
    ]
    assert float(found.detach()) == pytest.approx(math.fsum(errors) / len(errors), rel=1e-4)


def test_slices_of_a_modality_are_hidden_alike() -> None:
    objective = MaskedImageModelling(LOSS, boxes=4, together=False)
    torch.manual_seed(0)
    network = Down(modalities=4)
    objective.attach(network)
    image = torch.randn(2, 4, 8, 8)
    batch = Batch(image, None, torch.ones(2, 2, dtype=torch.bool), torch.zeros(2, 2), ["a", "b"])
    objective.step(network, {"unlabelled": batch}, NOW)
    hidden = network.seen[-1] != image
    assert torch.equal(hidden[:, 0], hidden[:, 1])
    assert torch.equal(hidden[:, 2], hidden[:, 3])
    assert not torch.equal(hidden[:, 0], hidden[:, 2])


@pytest.mark.parametrize("dims", [2, 3])
def test_the_head_gives_an_image_of_any_pyramid(dims: int) -> None:
    pyramid = Pyramid(dims, (3, 5), ((2,) * dims, (4,) * dims))
    head = ReconstructionHead(pyramid, 2, 4)
    features = [torch.randn(1, 3, *(4,) * dims), torch.randn(1, 5, *(2,) * dims)]
    assert head(features, (8,) * dims).shape == (1, 2, *(8,) * dims)


@pytest.mark.parametrize(
    ("kind", "options", "where"),
    [
        (SimCLR, {"temperature": 0.0}, "objective.temperature"),
        (SimCLR, {"probe_epochs": -1}, "objective.probe_epochs"),
        (SimCLR, {"crop": 0.4}, "objective.crop"),
        (SimCLR, {"flip": 1.5}, "objective.flip"),
        (SimCLR, {"cutout": 1.0}, "objective.cutout"),
        (SimCLR, {"strength": -1.0}, "objective.strength"),
        (SimCLR, {"projection": 0}, "objective.projection"),
        (SimCLR, {"local_weight": -1.0}, "objective.local_weight"),
        (MaskedImageModelling, {"hidden_share": 1.0}, "objective.hidden_share"),
        (MaskedImageModelling, {"boxes": 1}, "objective.boxes"),
        (MaskedImageModelling, {"width": 0}, "objective.width"),
        (MaskedImageModelling, {"penalty": "l3"}, "objective.penalty"),
    ],
)
def test_options_out_of_range_are_refused(
    kind: type[Pretraining], options: dict[str, Any], where: str
) -> None:
    with pytest.raises(UserError) as caught:
        kind(LOSS, **options)
    assert caught.value.where == where


def test_a_level_that_is_not_there_and_a_network_without_levels_are_refused() -> None:
    with pytest.raises(UserError, match=r"objective\.local_level.*give -2 to 1"):
        attached(SimCLR(LOSS, local_weight=1.0, local_level=2))
    with pytest.raises(UserError, match="trains the encoder of a network"):
        SimCLR(LOSS).attach(nn.Conv2d(1, 1, 1))
