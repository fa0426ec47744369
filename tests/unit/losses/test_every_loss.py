"""What every loss under conf/loss must do; a new one is tested unasked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn

from medseg import targets
from medseg.contracts import IGNORE, Labels, Loss
from medseg.errors import UserError

from .naive_losses import KINDS

SPECS: dict[str, dict[str, Any]] = {
    path.stem: yaml.safe_load(path.read_text())
    for path in sorted((Path(__file__).parents[3] / "conf" / "loss").glob("*.yaml"))
}
every_loss = pytest.mark.parametrize("name", SPECS)
every_kind = pytest.mark.parametrize("labels", KINDS.values(), ids=KINDS)
every_space = pytest.mark.parametrize("space", [(5, 4), (4, 3, 2)], ids=["2d", "3d"])


def make(name: str, labels: Labels) -> nn.Module:
    loss = targets.build(SPECS[name], "loss", labels)
    assert isinstance(loss, nn.Module)
    assert isinstance(loss, Loss)
    return loss


def draw(
    labels: Labels, space: tuple[int, ...], dtype: torch.dtype = torch.float32, batch: int = 2
) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(batch, labels.out_channels, *space, generator=generator, dtype=dtype) * 2
    label = torch.randint(0, 3, (batch, 1, *space), generator=generator).byte()
    label[:, :, 0] = IGNORE
    return logits.requires_grad_(), label


@every_loss
def test_file_lists_every_option_with_its_default(name: str) -> None:
    stated = {key: value for key, value in SPECS[name].items() if key != "_target_"}
    known = targets.parameters(SPECS[name]["_target_"])
    assert stated.keys() == {p.name for p in known if p.keyword_only}
    assert {p.name: p.default for p in known if p.keyword_only and not p.required}.items() <= stated.items()


@every_loss
@every_kind
@every_space
def test_gives_a_finite_scalar_with_a_gradient(name: str, labels: Labels, space: tuple[int, ...]) -> None:
    logits, label = draw(labels, space)
    value = make(name, labels)(logits, label)
    (gradient,) = torch.autograd.grad(value, logits)
    assert value.shape == ()
    assert value.dtype == torch.float32
    assert torch.isfinite(gradient).all()
    assert gradient.abs().max() > 0


@every_loss
@every_kind
def test_gradient_is_the_derivative(name: str, labels: Labels) -> None:
    logits, label = draw(labels, (3, 2), torch.float64)
    loss = make(name, labels)
    assert torch.autograd.gradcheck(lambda x: loss(x, label), logits)


@every_loss
@every_kind
@every_space
def test_ignored_voxels_have_no_say(name: str, labels: Labels, space: tuple[int, ...]) -> None:
    logits, label = draw(labels, space)
    loss = make(name, labels)
    value = loss(logits, label)
    (gradient,) = torch.autograd.grad(value, logits)
    ignored = (label == IGNORE).expand_as(logits)
    assert (gradient[ignored] == 0).all()
    changed = torch.where(ignored, 1e4 * torch.randn_like(logits), logits)
    assert float(loss(changed, label).detach()) == float(value.detach())


@every_loss
@every_kind
@every_space
def test_whatever_is_predicted_under_ignored_voxels_nothing_else_changes(
    name: str, labels: Labels, space: tuple[int, ...]
) -> None:
    """Scribbles: most voxels are ignored; value and gradient are those of the drawn ones alone."""
    logits, label = draw(labels, space)
    label[torch.rand(label.shape, generator=torch.Generator().manual_seed(8)) < 0.6] = IGNORE
    ignored = (label == IGNORE).expand_as(logits)
    found = []
    for filler in (0.0, -7.0, 1e4):
        under = logits.detach().masked_fill(ignored, filler).requires_grad_()
        value = make(name, labels)(under, label)
        (gradient,) = torch.autograd.grad(value, under)
        found.append((float(value.detach()), gradient))
    assert all(value == found[0][0] for value, _ in found)
    assert all(torch.equal(gradient, found[0][1]) for _, gradient in found)
    assert (found[0][1][ignored] == 0).all()


@every_loss
@every_kind
def test_all_ignored_is_zero_and_trains_nothing(name: str, labels: Labels) -> None:
    logits, label = draw(labels, (4, 3, 2))
    value = make(name, labels)(logits, torch.full_like(label, IGNORE))
    (gradient,) = torch.autograd.grad(value, logits)
    assert float(value.detach()) == 0
    assert (gradient == 0).all()


@every_loss
@every_kind
def test_the_right_answer_costs_next_to_nothing_and_a_wrong_one_more(name: str, labels: Labels) -> None:
    _, label = draw(labels, (4, 3, 2))
    rows = torch.zeros(2, labels.out_channels, 4, 3, 2)
    for k, members in enumerate(labels.members if labels.overlapping else [(0,), (1,), (2,)]):
        for code in members:
            rows[:, k : k + 1] += label == code
    loss = make(name, labels)
    right, wrong = loss(40 * rows - 20, label), loss(20 - 40 * rows, label)
    assert 0 <= float(right) < 1e-3
    assert float(wrong) > 0.3


@every_loss
@every_kind
def test_is_float32_under_autocast(name: str, labels: Labels) -> None:
    logits, label = draw(labels, (6, 5, 4))
    loss = make(name, labels)
    low = logits.detach().bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(low, label)
    assert value.dtype == torch.float32
    assert float(value.detach()) == float(loss(low.detach().float(), label))
    assert torch.isfinite(torch.autograd.grad(value, low)[0]).all()


@every_loss
@every_kind
@pytest.mark.parametrize("scale", [1e4, 1e30], ids=["large", "largest"])
def test_extreme_logits_stay_finite(name: str, labels: Labels, scale: float) -> None:
    logits, label = draw(labels, (4, 3, 2))
    huge = (logits.detach().sign() * scale).requires_grad_()
    (gradient,) = torch.autograd.grad(make(name, labels)(huge, label), huge)
    assert torch.isfinite(gradient).all()


@every_loss
@every_kind
def test_memory_layout_does_not_matter(name: str, labels: Labels) -> None:
    logits, label = draw(labels, (4, 3, 2))
    loss = make(name, labels)
    other = loss(logits.contiguous(memory_format=torch.channels_last_3d), label)
    assert float(other.detach()) == pytest.approx(float(loss(logits, label).detach()), rel=1e-6)


@every_loss
@every_kind
def test_has_no_state_to_store(name: str, labels: Labels) -> None:
    assert make(name, labels).state_dict() == {}


@every_loss
def test_shapes_that_do_not_fit_are_refused(name: str) -> None:
    logits, label = draw(KINDS["classes"], (4, 3, 2))
    with pytest.raises(UserError, match="do not fit"):
        make(name, KINDS["classes"])(logits, label[:, :, :2])
    with pytest.raises(UserError, match="do not fit"):
        make(name, KINDS["classes"])(logits[:, :2], label)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("dice", {"smooth": 0.0}, "smooth"),
        ("tversky", {"alpha": -0.1}, "negative"),
        ("focal", {"gamma": 0.5}, "gamma"),
        ("cross_entropy", {"class_weights": [1.0, 2.0]}, "3 numbers"),
        ("dice_ce", {"class_weights": [1.0, -2.0, 1.0]}, "class_weights"),
        ("dice_focal", {"class_weights": [0.0, 0.0, 0.0]}, "class_weights"),
        ("generalised_dice", {"smooth": 0.0}, "smooth"),
        ("hausdorff", {"alpha": 0.0}, "alpha"),
        ("soft_cldice", {"alpha": 1.5}, "alpha"),
        ("soft_cldice", {"iterations": 0}, "iterations"),
        ("soft_cldice", {"smooth": 0.0}, "smooth"),
        ("top_k", {"k": 0.0}, "loss.k"),
        ("top_k", {"class_weights": [1.0]}, "3 numbers"),
        ("cross_entropy", {"class_weights": "balanced"}, "training cases and there are none"),
        ("focal", {"class_weights": "balanced_sqrt"}, "training cases and there are none"),
        ("top_k", {"k": 101.0}, "loss.k"),
    ],
)
def test_senseless_options_are_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        targets.build(SPECS[name] | options, "loss", KINDS["classes"])
