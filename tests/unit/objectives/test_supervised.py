from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from medseg import targets
from medseg.contracts import Batch, Labels, Progress
from medseg.errors import UserError
from medseg.losses.compound import Compound
from medseg.losses.dice import Dice
from medseg.losses.dice_ce import DiceCE
from medseg.objectives.supervised import Supervised

LABELS = Labels(("a", "b"), ((1,), (2,)))
NOW = Progress(step=0, total_steps=10, epoch=0)
SPEC = Path(__file__).parents[3] / "conf" / "objective" / "supervised.yaml"


class Levels(torch.nn.Module):
    """Logits at the image's size and at half of it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(1, 3, 1)

    def forward(self, image: torch.Tensor, present: torch.Tensor | None = None) -> tuple[torch.Tensor, ...]:
        logits = self.conv(image)
        return (logits, logits[..., ::2, ::2]) if self.training else (logits,)


@pytest.fixture
def batch() -> Batch:
    generator = torch.Generator().manual_seed(0)
    return Batch(
        image=torch.randn(2, 1, 8, 8, generator=generator),
        label=torch.randint(0, 3, (2, 1, 8, 8), generator=generator).byte(),
        present=torch.ones(2, 1, dtype=torch.bool),
        index=torch.zeros(2, 2, dtype=torch.int64),
        case=["one", "two"],
    )


def test_file_lists_every_option_with_its_default() -> None:
    spec = yaml.safe_load(SPEC.read_text())
    known = targets.parameters(spec.pop("_target_"))
    assert spec == {p.name: p.default for p in known if p.keyword_only}


def test_declares_in_its_source_what_it_reads() -> None:
    constants = targets.constants("medseg.objectives.supervised.Supervised")
    assert constants["STREAMS"] == ("labelled",)
    assert constants["DEEP_SUPERVISION"] is True


def test_several_levels_are_weighed_and_the_finest_is_told(batch: Batch) -> None:
    network, loss = Levels(), DiceCE(LABELS)
    found = Supervised(loss).step(network, {"labelled": batch}, NOW)
    assert batch.label is not None
    fine, coarse = network(batch.image)
    terms = [
        float(loss(fine, batch.label).detach()),
        float(loss(coarse, batch.label[..., ::2, ::2]).detach()),
    ]
    assert float(found["loss"].detach()) == pytest.approx((2 * terms[0] + terms[1]) / 3, rel=1e-6)
    assert float(found["loss_finest"]) == pytest.approx(terms[0], rel=1e-6)
    assert not found["loss_finest"].requires_grad


@pytest.mark.parametrize("deep_supervision", [True, False])
def test_one_level_is_the_loss_itself(batch: Batch, deep_supervision: bool) -> None:
    network = Levels().eval() if deep_supervision else Levels()
    found = Supervised(DiceCE(LABELS), deep_supervision=deep_supervision).step(
        network, {"labelled": batch}, NOW
    )
    assert batch.label is not None
    expected = DiceCE(LABELS)(network(batch.image)[0], batch.label)
    assert list(found) == ["loss"]
    assert float(found["loss"].detach()) == float(expected.detach())


def test_training_with_it_learns(batch: Batch) -> None:
    assert batch.label is not None
    batch.image = batch.label.float() - 1
    torch.manual_seed(0)
    network, objective = Levels(), Supervised(DiceCE(LABELS))
    objective.attach(network)
    optimizer = torch.optim.Adam(network.parameters(), 0.1)
    values = []
    for _ in range(60):
        loss = objective.step(network, {"labelled": batch}, NOW)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        objective.after_step(network, NOW)
        values.append(float(loss.detach()))
    assert values[-1] < 0.5 * values[0]


def test_terms_of_a_compound_loss_are_told(batch: Batch) -> None:
    terms = {"dice": {"_target_": "medseg.losses.dice.Dice"}}
    loss = Compound(LABELS, terms=terms, weights={"dice": {"shape": "linear", "from": 0.0, "to": 1.0}})
    loss.progress(0.25)
    network = Levels()
    found = Supervised(loss).step(network, {"labelled": batch}, NOW)
    assert batch.label is not None
    dice = float(Dice(LABELS)(network(batch.image)[0], batch.label).detach())
    assert float(found["loss_dice"]) == pytest.approx(dice, rel=1e-6)
    assert float(found["weight_dice"]) == 0.25
    assert found["loss_finest"] == pytest.approx(0.25 * dice, rel=1e-6)
    assert found["loss"].requires_grad


def test_a_stream_without_labels_is_refused(batch: Batch) -> None:
    batch.label = None
    with pytest.raises(UserError, match="without a label"):
        Supervised(DiceCE(LABELS)).step(Levels(), {"labelled": batch}, NOW)


def test_has_no_parameters_and_no_state() -> None:
    objective = Supervised(DiceCE(LABELS, class_weights=[1.0, 2.0, 3.0]))
    assert list(objective.parameters()) == []
    assert objective.state_dict() == {}
