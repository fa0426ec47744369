"""A transformer that is not given most of a patch, against loops over its boxes."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn

from medseg import targets
from medseg.contracts import Batch, Labels, Progress
from medseg.data.plan import Plan
from medseg.errors import UserError
from medseg.inference.assemble import assemble_encoding
from medseg.losses.dice_ce import DiceCE
from medseg.objectives.masked_autoencoder import MaskedAutoencoder, cut_boxes
from medseg.objectives.token_decoder import TokenDecoder, place_codes

LABELS = Labels(("a",), ((1,),))
LOSS = DiceCE(LABELS)
NOW = Progress(step=0, total_steps=10, epoch=0)
CONF = Path(__file__).parents[3] / "conf" / "objective" / "masked_autoencoder.yaml"
UNETR = {"_target_": "medseg.networks.unetr.UNETR", "hidden_size": 24, "blocks": 3}
EARLY = {"_target_": "medseg.fusion.early.EarlyFusion"}
PATCH = {2: (16, 8), 3: (8, 16, 8)}


def make_plan(dims: int, slices: int = 1) -> Plan:
    return Plan(
        spatial_dims=dims, modalities=("t1", "t2"), axes=(0, 1, 2), spacing=(1.0, 1.0, 1.0),
        patch_size=PATCH[dims], batch_size=3, strides=((1,) * dims, (2,) * dims, (2,) * dims),
        kernels=((3,) * dims,) * 3, widths=(4, 6, 8), normalisation={}, in_plane_only=False,
        precision="32-true", slices=slices,
    )  # fmt: skip


def make_encoding(dims: int = 2, slices: int = 1, network: dict[str, Any] = UNETR) -> nn.Module:
    torch.manual_seed(0)
    return assemble_encoding(network, EARLY, make_plan(dims, slices), LABELS)


def make_batch(dims: int = 2, slices: int = 1, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(3, 2 * slices, *PATCH[dims], generator=generator)
    present = torch.tensor([[True, True], [True, False], [False, True]])
    image *= present.repeat_interleave(slices, 1).reshape(3, 2 * slices, *(1,) * dims)
    return Batch(image, None, present, torch.zeros(3, 2, dtype=torch.int64), ["a", "b", "c"])


def attached(dims: int = 2, slices: int = 1, **options: Any) -> tuple[MaskedAutoencoder, nn.Module]:
    objective, encoding = MaskedAutoencoder(LOSS, width=16, **options), make_encoding(dims, slices)
    objective.attach(encoding)
    return objective, encoding


def loss_of(objective: MaskedAutoencoder, encoding: nn.Module, batch: Batch, seed: int = 7) -> Tensor:
    torch.manual_seed(seed)
    return objective.step(encoding, {"unlabelled": batch}, NOW)["loss"]


def drawn(count: int, hidden: int, seed: int = 7) -> Tensor:
    """Which boxes the objective leaves in, ``(B, n)``."""
    torch.manual_seed(seed)
    return torch.rand(3, count).argsort(1)[:, hidden:]


def boxes_by_loop(size: tuple[int, ...], box: tuple[int, ...]) -> list[tuple[slice, ...]]:
    firsts = itertools.product(*[range(0, n, b) for n, b in zip(size, box, strict=True)])
    return [tuple(slice(f, f + b) for f, b in zip(first, box, strict=True)) for first in firsts]


def test_the_file_states_the_defaults_and_the_source_what_it_needs() -> None:
    spec = yaml.safe_load(CONF.read_text())
    facts = targets.constants(spec["_target_"])
    assert facts["STREAMS"] == ("unlabelled",)
    assert facts["PRETRAINS"] is True
    assert facts["NEEDS_TOKENS"] is True
    known = targets.parameters(spec.pop("_target_"))
    assert spec == {p.name: p.default for p in known if p.keyword_only}


@pytest.mark.parametrize("dims", [2, 3])
def test_boxes_are_cut_as_the_network_cuts_them(dims: int) -> None:
    image, box = torch.randn(2, 3, *PATCH[dims]), (4,) * dims
    found = cut_boxes(image, box)
    for number, place in enumerate(boxes_by_loop(PATCH[dims], box)):
        assert torch.equal(found[:, number], image[(slice(None), slice(None), *place)].flatten(2))
    # token n of the network is box n of the target
    encoding = make_encoding(dims)
    embedding = encoding.encoders[0].stages[1].body[:2]
    changed = image[:, :2].clone()
    changed[(slice(None), slice(None), *boxes_by_loop(PATCH[dims], box)[1])] += 1
    moved = (embedding(changed) != embedding(image[:, :2])).any(2).nonzero()
    assert moved.tolist() == [[0, 1], [1, 1]]


@pytest.mark.parametrize(("dims", "slices"), [(2, 1), (2, 3), (3, 1)])
@pytest.mark.parametrize("options", [{}, {"normalise_boxes": True}, {"penalty": "l1", "hidden_share": 0.3}])
def test_the_loss_is_that_of_a_loop_over_boxes(dims: int, slices: int, options: dict[str, Any]) -> None:
    objective, encoding = attached(dims, slices, **options)
    batch, box = make_batch(dims, slices), (4,) * dims
    places = boxes_by_loop(PATCH[dims], box)
    hidden = round(objective.hidden_share * len(places))
    kept = drawn(len(places), hidden)
    guess = objective.decoder(encoding.tokens(batch.image, batch.present, kept), kept)
    guess = guess.reshape(3, len(places), 2 * slices, -1)
    errors: list[Tensor] = []
    for case, number, channel in itertools.product(range(3), range(len(places)), range(2 * slices)):
        if number in kept[case].tolist() or not batch.present[case, channel // slices]:
            continue
        target = batch.image[(case, channel, *places[number])].flatten()
        if objective.normalise_boxes:
            target = (target - target.mean()) / (target.var(correction=0) + 1e-6).sqrt()
        difference = guess[case, number, channel] - target
        errors.append(difference.abs() if objective.penalty == "l1" else difference**2)
    expected = torch.cat(errors).mean()
    assert float(loss_of(objective, encoding, batch).detach()) == pytest.approx(
        float(expected.detach()), rel=1e-5
    )


@pytest.mark.parametrize("dims", [2, 3])
def test_what_is_hidden_is_not_there_for_the_encoder(dims: int) -> None:
    objective, encoding = attached(dims)
    batch = make_batch(dims)
    places = boxes_by_loop(PATCH[dims], (4,) * dims)
    kept = drawn(len(places), round(0.75 * len(places)))
    other = batch.image.clone()
    for case, number in itertools.product(range(3), range(len(places))):
        if number not in kept[case].tolist():
            other[(case, slice(None), *places[number])] = 9.0
    seen = [encoding.tokens(image, batch.present, kept) for image in (batch.image, other)]
    assert torch.equal(seen[0], seen[1])
    assert seen[0].shape == (3, len(places) - round(0.75 * len(places)), 24)
    first, second = (loss_of(objective, encoding, replace(batch, image=i)) for i in (batch.image, other))
    assert float(second.detach()) > 2 * float(first.detach())


def test_guesses_move_with_their_tokens() -> None:
    """The order of the tokens that are there says nothing, only their places do."""
    decoder = TokenDecoder(12, 16, 2, (2, 3), 5).double()
    tokens, kept = torch.randn(1, 3, 12).double(), torch.tensor([[4, 0, 2]])
    turned = decoder(tokens[:, [2, 0, 1]], kept[:, [2, 0, 1]])
    assert torch.allclose(decoder(tokens, kept), turned, atol=1e-12)
    answers = decoder(tokens, kept)[0]
    assert len({tuple(row.tolist()) for row in answers}) == 6, "unknown places are told apart"


@pytest.mark.parametrize("grid", [(5,), (3, 4), (2, 3, 4)])
def test_places_are_told_by_sines_of_each_axis(grid: tuple[int, ...]) -> None:
    width = 16
    pairs = width // (2 * len(grid))
    found = place_codes(grid, width)
    for number, place in enumerate(itertools.product(*map(range, grid))):
        row: list[float] = []
        for at in place:
            angles = [at / 10_000 ** (k / pairs) for k in range(pairs)]
            row += [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
        row += [0.0] * (width - len(row))
        assert found[number].tolist() == pytest.approx(row, abs=1e-6)


def test_the_seed_of_a_step_decides_what_is_hidden() -> None:
    objective, encoding = attached()
    batch = make_batch()
    values = [float(loss_of(objective, encoding, batch, seed).detach()) for seed in (1, 1, 2)]
    assert values[0] == values[1] != values[2]


def test_only_what_tokens_pass_through_is_trained() -> None:
    objective, encoding = attached(3)
    trained = {name for name, p in encoding.named_parameters() if p.requires_grad}
    through = {n for n, _ in encoding.named_parameters() if ".body." in n and ".stages.0." not in n}
    assert trained == through
    loss_of(objective, encoding, make_batch(3)).backward()  # type: ignore[no-untyped-call]
    every = [*encoding.named_parameters(), *objective.named_parameters()]
    assert [name for name, p in every if p.requires_grad and p.grad is None] == []
    assert [name for name, p in every if p.requires_grad and not p.grad.any()] == []
    assert objective.state_dict().keys() == dict(objective.named_parameters()).keys(), (
        "nothing else to resume"
    )


def test_training_with_it_learns() -> None:
    objective, encoding = attached(hidden_share=0.5)
    batch = make_batch()
    smooth = torch.linspace(-2, 2, 16)[:, None] + torch.linspace(-1, 1, 8)
    batch.image = smooth * torch.tensor([1.0, -1.0])[:, None, None] * batch.present[:, :, None, None]
    weights = [p for p in [*encoding.parameters(), *objective.parameters()] if p.requires_grad]
    optimizer = torch.optim.Adam(weights, 3e-3)
    losses = []
    for step in range(60):
        loss = loss_of(objective, encoding, batch, step)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-10:]) < 0.3 * sum(losses[:10])


def test_a_missing_modality_is_nothing_to_guess() -> None:
    objective, encoding = attached()
    batch = make_batch()
    values = []
    for filler in (0.0, 5.0):
        image = torch.where(batch.present[:, :, None, None], batch.image, filler)
        values.append(float(loss_of(objective, encoding, replace(batch, image=image)).detach()))
    assert values[0] == values[1]


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ({"hidden_share": 1.0}, "objective.hidden_share"),
        ({"hidden_share": 0.0}, "objective.hidden_share"),
        ({"penalty": "l3"}, "objective.penalty"),
        ({"width": 12}, "objective.width"),
        ({"blocks": 0}, "objective.blocks"),
        ({"probe_epochs": -1}, "objective.probe_epochs"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], where: str) -> None:
    with pytest.raises(UserError) as caught:
        MaskedAutoencoder(LOSS, **options)
    assert caught.value.where == where


def test_what_cannot_leave_tokens_out_is_refused() -> None:
    swin = {"_target_": "medseg.networks.swin_unetr.SwinUNETR", "feature_size": 12}
    for network, told in (
        (swin, "tied to windows"),
        ({"_target_": "medseg.networks.unet.UNet"}, "LevelEncoder"),
    ):
        with pytest.raises(UserError, match=told):
            MaskedAutoencoder(LOSS).attach(make_encoding(network=network))
    mid = {"_target_": "medseg.fusion.mid.MidFusion"}
    with pytest.raises(UserError, match="one for each modality"):
        MaskedAutoencoder(LOSS).attach(assemble_encoding(UNETR, mid, make_plan(2), LABELS))
    with pytest.raises(UserError, match="has none"):
        MaskedAutoencoder(LOSS).attach(nn.Conv2d(1, 1, 1))
    lone = replace(make_plan(2), patch_size=(4, 4))
    with pytest.raises(UserError, match="is one token"):
        MaskedAutoencoder(LOSS).attach(assemble_encoding(UNETR, EARLY, lone, LABELS))
