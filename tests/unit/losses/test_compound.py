from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from medseg import targets
from medseg.contracts import Labels, Paced
from medseg.errors import Problems, UserError
from medseg.losses.compound import Compound
from medseg.losses.deep_supervision import DeepSupervision
from medseg.losses.dice import Dice
from medseg.losses.schedule import WeightSchedule

from .naive_losses import CLASSES
from .test_every_loss import SPECS

DICE = {"_target_": "medseg.losses.dice.Dice"}
CE = {"_target_": "medseg.losses.cross_entropy.CrossEntropy"}
RAMP: dict[str, float | str] = {"shape": "linear", "from": 0.5, "to": 2.0, "begin": 0.2, "end": 0.6}


def compound(**weights: Any) -> Compound:
    return Compound(CLASSES, terms={"dice": DICE, "ce": CE}, weights=weights)


def draw() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    logits = torch.randn(2, 3, 6, 5, generator=generator)
    return logits, torch.randint(0, 3, (2, 1, 6, 5), generator=generator).byte()


@given(
    st.sampled_from(["linear", "cosine", "step"]),
    st.floats(0, 10),
    st.floats(0, 10),
    st.floats(0, 0.5),
    st.floats(0.6, 1),
    st.floats(0, 1),
)
def test_a_schedule_is_its_formula(
    shape: str, start: float, stop: float, begin: float, end: float, share: float
) -> None:
    options: dict[str, float | str] = {"shape": shape, "from": start, "to": stop, "begin": begin, "end": end}
    found = WeightSchedule(options, "w").at(share)
    if share <= begin:
        expected = start
    elif share >= end:
        expected = stop
    elif shape == "linear":
        expected = start + (stop - start) * (share - begin) / (end - begin)
    elif shape == "cosine":
        expected = stop + (start - stop) * (1 + math.cos(math.pi * (share - begin) / (end - begin))) / 2
    else:
        expected = start
    assert found == pytest.approx(expected, abs=1e-9)


def test_a_number_stays() -> None:
    assert [WeightSchedule(0.3, "w").at(share) for share in (0.0, 0.4, 1.0)] == [0.3] * 3


def test_a_compound_weighs_by_the_share_of_training_alone() -> None:
    logits, label = draw()
    loss = compound(dice=1.0, ce=RAMP)
    dice = float(Dice(CLASSES)(logits, label))
    costs = {}
    for share in (0.0, 0.4, 1.0, 0.4):
        loss.progress(share)
        costs.setdefault(share, set()).add(float(loss(logits, label)))
    assert all(len(found) == 1 for found in costs.values()), "what came before must not matter"
    ce = [(cost - dice) for cost in (costs[0.0] | costs[0.4] | costs[1.0])]
    assert sorted(ce)[1] / sorted(ce)[0] == pytest.approx(1.25 / 0.5, rel=1e-5)
    assert sorted(ce)[2] / sorted(ce)[0] == pytest.approx(2.0 / 0.5, rel=1e-5)
    assert loss.state_dict() == {}


def test_a_term_of_no_weight_is_not_computed() -> None:
    class Refusing(nn.Module):
        def forward(self, *_: torch.Tensor) -> torch.Tensor:
            raise AssertionError

    loss = compound(dice=0.0, ce={"shape": "step", "from": 0.0, "to": 1.0, "end": 0.5})
    loss.terms[0] = Refusing()
    logits, label = draw()
    logits.requires_grad_()
    value = loss(logits, label)
    (gradient,) = torch.autograd.grad(value, logits)
    assert float(value.detach()) == 0
    assert (gradient == 0).all()
    loss.progress(0.5)
    assert float(loss(logits, label).detach()) > 0


def test_the_terms_of_the_finest_level_are_told_with_their_weights() -> None:
    logits, label = draw()
    loss = compound(dice=0.0, ce=RAMP)
    loss.progress(0.4)
    deep = DeepSupervision(loss)
    deep([logits, logits[..., ::2, ::5]], label)
    assert deep.terms.keys() == {"loss_ce", "weight_dice", "weight_ce"}, "what weighs nothing is not computed"
    assert float(deep.terms["loss_ce"]) == float(targets.build(CE, "loss", CLASSES)(logits, label))
    assert [float(deep.terms[f"weight_{name}"]) for name in ("dice", "ce")] == [0.0, pytest.approx(1.25)]
    assert not any(value.requires_grad for value in deep.terms.values())
    plain = DeepSupervision(Dice(CLASSES))
    plain([logits], label)
    assert plain.terms == {}


def test_a_loss_from_elsewhere_is_given_logits_and_codes() -> None:
    class Foreign(nn.Module):
        def forward(self, logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
            return nn.functional.cross_entropy(logits, label[:, 0].long())

    logits, label = draw()
    loss, plain = compound(dice=1.0, ce=2.0), compound(dice=1.0, ce=2.0)
    loss.terms[1] = Foreign()
    assert float(loss(logits, label)) == pytest.approx(float(plain(logits, label)), rel=1e-6)


def test_compounds_nest_and_deep_supervision_hides_none() -> None:
    inner = {"_target_": "medseg.losses.compound.Compound", "terms": {"ce": CE}, "weights": {"ce": RAMP}}
    loss = Compound(CLASSES, terms={"dice": DICE, "inner": inner}, weights={"dice": 1.0, "inner": 1.0})
    deep = DeepSupervision(loss)
    paced = [part for part in deep.modules() if isinstance(part, Paced)]
    assert [type(part) for part in paced] == [Compound, Compound]
    logits, label = draw()
    before = float(deep([logits], label))
    for part in paced:
        part.progress(1.0)
    assert float(deep([logits], label)) > before


@pytest.mark.parametrize("name", SPECS)
def test_deep_supervision_wraps_every_loss(name: str) -> None:
    loss = targets.build(SPECS[name], "loss", CLASSES)
    generator = torch.Generator().manual_seed(2)
    levels = [
        torch.randn(1, 3, *size, generator=generator).requires_grad_() for size in [(8, 8, 4), (4, 4, 2)]
    ]
    label = torch.randint(0, 3, (1, 1, 8, 8, 4), generator=generator).byte()
    gradients = torch.autograd.grad(DeepSupervision(loss)(levels, label), levels)
    assert all(gradient.isfinite().all() and gradient.any() for gradient in gradients)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"dice": 1.0}, "give each term"),
        ({"dice": 1.0, "ce": 1.0, "focal": 1.0}, "give each term"),
        ({"dice": -1.0, "ce": 1.0}, "loss.weights.dice.from: -1.0 is not a number >= 0"),
        ({"dice": 0.0, "ce": 0.0}, "all are 0"),
        ({"dice": 1.0, "ce": {"shape": "linear", "from": 0.0}}, "loss.weights.ce: the schedule lacks 'to'"),
        ({"dice": 1.0, "ce": RAMP | {"shape": "square"}}, "no shape 'square'; use linear, cosine, step"),
        ({"dice": 1.0, "ce": RAMP | {"after": 3}}, "no 'after'"),
        ({"dice": 1.0, "ce": RAMP | {"begin": 0.7}}, "begin 0.7 and end 0.6"),
        ({"dice": 1.0, "ce": RAMP | {"to": "much"}}, "loss.weights.ce.to: 'much'"),
    ],
)
def test_senseless_weights_are_refused(weights: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        compound(**weights)


def test_senseless_terms_are_refused() -> None:
    with pytest.raises(Problems, match="no option 'smoth'; did you mean 'smooth'"):
        Compound(CLASSES, terms={"dice": DICE | {"smoth": 1.0}}, weights={"dice": 1.0})
    with pytest.raises(Problems, match="not on the list of allowed targets"):
        Compound(CLASSES, terms={"os": {"_target_": "os.system"}}, weights={"os": 1.0})
    with pytest.raises(UserError, match="the terms are none"):
        Compound(Labels(("a",), ((1,),)), terms={}, weights={})
