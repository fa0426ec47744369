"""Every objective of two streams: what it learns from which stream, and what it publishes."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn

from medseg import targets
from medseg.contracts import Batch, Deploys, Labels, Progress
from medseg.errors import UserError
from medseg.losses.compound import Compound
from medseg.losses.dice_ce import DiceCE
from medseg.objectives.copy_paste import CopyPaste, largest_components
from medseg.objectives.cross_pseudo_supervision import CrossPseudoSupervision
from medseg.objectives.mean_teacher import MeanTeacher
from medseg.objectives.self_training import EntropyMinimisation, PseudoLabels
from medseg.objectives.strong_weak import StrongWeak, drop_channels
from medseg.objectives.views import strong

CLASSES = Labels(("a", "b"), ((1,), (2,)))
REGIONS = Labels(("whole", "core"), ((1, 2), (2,)), overlapping=True)
FOLDER = Path(__file__).parents[3] / "conf" / "objective"
NAMES = (
    "mean_teacher", "uncertainty_mean_teacher", "cross_pseudo_supervision", "fixmatch", "unimatch",
    "copy_paste", "entropy_minimisation", "pseudo_labels",
)  # fmt: skip
LATE = Progress(step=90, total_steps=100, epoch=3)


class Small(nn.Module):
    """Two convolutions, with a batch norm, so that there are buffers, and one coarser level.

    It comes in halves, as the fusions that objectives may take apart.
    """

    def __init__(self, modalities: int = 2, rows: int = 3, dims: int = 2) -> None:
        super().__init__()
        convolution, norm = (nn.Conv2d, nn.BatchNorm2d) if dims == 2 else (nn.Conv3d, nn.BatchNorm3d)
        self.first, self.norm = convolution(modalities, 6, 3, padding=1), norm(6)
        self.last = convolution(6, rows, 1)

    def forward(self, image: Tensor, present: Tensor | None = None) -> tuple[Tensor, ...]:
        return self.decode(self.encode(image, present))

    def encode(self, image: Tensor, present: Tensor | None = None) -> list[Tensor]:
        return [torch.relu(self.norm(self.first(image)))]

    def encoding(self) -> Any:
        return self.encode

    def decode(self, features: list[Tensor]) -> tuple[Tensor, ...]:
        logits = self.last(features[0])
        return (logits, logits[..., ::2, ::2]) if self.training and logits.ndim == 4 else (logits,)


def batch_of(seed: int, dims: int = 2, labelled: bool = True, size: int = 3) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    shape = (8,) * dims
    return Batch(
        image=torch.randn(size, 2, *shape, generator=generator),
        label=torch.randint(0, 3, (size, 1, *shape), generator=generator).byte() if labelled else None,
        present=torch.ones(size, 2, dtype=torch.bool),
        index=torch.zeros(size, 2, dtype=torch.int64),
        case=[f"case{k}" for k in range(size)],
    )


def streams(dims: int = 2) -> dict[str, Batch]:
    return {"labelled": batch_of(0, dims), "unlabelled": batch_of(1, dims, labelled=False, size=4)}


def made(name: str, labels: Labels = CLASSES, **changed: Any) -> Any:
    spec = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    return targets.build(spec | changed, "objective", DiceCE(labels))


def step(
    objective: Any, network: nn.Module, given: Mapping[str, Batch], progress: Progress
) -> dict[str, Tensor]:
    torch.manual_seed(5)
    found: dict[str, Tensor] = objective.step(network, given, progress)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_file_lists_every_option(name: str) -> None:
    spec = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    known = targets.parameters(spec.pop("_target_"))
    assert set(spec) == {p.name for p in known if p.keyword_only}
    assert targets.constants(type(made(name)).__module__ + "." + type(made(name)).__name__)["STREAMS"]


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("labels", [CLASSES, REGIONS], ids=["classes", "regions"])
@pytest.mark.parametrize("name", NAMES)
def test_one_step_changes_every_weight(name: str, labels: Labels, dims: int) -> None:
    objective, network = made(name, labels), Small(rows=labels.out_channels, dims=dims)
    if labels.overlapping and name == "copy_paste":
        pytest.skip("it needs exclusive classes, which a configuration is refused for")
    objective.attach(network)
    found = step(objective, network, streams(dims), LATE)
    found["loss"].backward()
    trained = [*network.parameters(), *(p for p in objective.parameters() if p.requires_grad)]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in trained)
    assert any(p.grad.abs().sum() > 0 for p in trained if p.grad is not None)
    assert math.isfinite(float(found["loss"].detach()))
    assert not any(value.requires_grad for key, value in found.items() if key != "loss")


@pytest.mark.parametrize("name", NAMES)
def test_the_second_term_begins_with_no_weight_and_ends_with_all(name: str) -> None:
    objective, network = made(name, ramp_up=0.5) if name != "copy_paste" else made(name), Small()
    objective.attach(network)
    start = step(objective, network, streams(), Progress(0, 100, 0))
    end = step(objective, network, streams(), Progress(99, 100, 1))
    if name != "copy_paste":
        assert float(start["weight"]) == pytest.approx(objective.weight * math.exp(-5))
    assert float(end["weight"]) == pytest.approx(objective.weight)
    for found in (start, end):
        whole = found["loss_labelled"] + found["weight"] * found["loss_unlabelled"]
        assert float(found["loss"].detach()) == pytest.approx(float(whole), rel=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_the_unlabelled_stream_teaches_and_its_labels_are_never_read(name: str) -> None:
    gradients = []
    for given in (streams(), streams(), streams()):
        torch.manual_seed(0)
        network = Small()
        objective = made(
            name, **({"confidence": 0.0} if name in ("fixmatch", "unimatch", "pseudo_labels") else {})
        )
        objective.attach(network)
        if len(gradients) == 1:
            given["unlabelled"].label = torch.ones(4, 1, 8, 8, dtype=torch.uint8)
        if len(gradients) == 2:
            given["unlabelled"].image += 1
        step(objective, network, given, LATE)["loss"].backward()
        gradients.append(network.first.weight.grad.clone())
    assert torch.equal(gradients[0], gradients[1])
    assert not torch.allclose(gradients[0], gradients[2])


def test_the_labelled_loss_is_by_default_that_of_the_supervised_control() -> None:
    """Else a gain, or a loss, would be that of deep supervision."""
    control = yaml.safe_load((FOLDER / "supervised.yaml").read_text())
    for name in NAMES:
        spec = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
        assert {key: spec[key] for key in ("deep_supervision", "decay")} == {
            key: control[key] for key in ("deep_supervision", "decay")
        }, name


def test_mean_teacher_by_hand() -> None:
    network, given = Small(), streams()
    objective = MeanTeacher(DiceCE(CLASSES), noise=0.0, weight=3.0, ramp_up=0.0)
    objective.attach(network)
    objective.teacher.network.last.bias.data += torch.tensor([0.0, 1.0, -1.0])
    found = step(objective, network, given, LATE)
    both = torch.cat([given["labelled"].image, given["unlabelled"].image])
    mine = network(both)[0][3:].softmax(1)
    theirs = objective.teacher.network(given["unlabelled"].image)[0].softmax(1)
    total = 0.0
    for a, b in zip(mine.flatten().tolist(), theirs.flatten().tolist(), strict=True):
        total += (a - b) ** 2
    assert float(found["loss_unlabelled"]) == pytest.approx(total / mine.numel(), rel=1e-4)
    second = float(found["loss"].detach() - found["loss_labelled"])
    assert second == pytest.approx(3 * total / mine.numel(), rel=1e-3)


def test_the_student_alone_sees_the_strong_view() -> None:
    network, given = Small(), streams()
    objective = MeanTeacher(DiceCE(CLASSES), noise=0.0, strength=0.5)
    objective.attach(network)
    seen: dict[str, Tensor] = {}
    for name, module in (("student", network), ("teacher", objective.teacher.network)):
        module.register_forward_pre_hook(lambda _, inputs, name=name: seen.update({name: inputs[0]}))
    step(objective, network, given, LATE)
    unlabelled = given["unlabelled"]
    torch.manual_seed(5)
    changed = strong(unlabelled.image, unlabelled.present, 0.5)
    assert torch.equal(seen["student"], torch.cat([given["labelled"].image, changed]))
    assert not torch.allclose(changed, unlabelled.image)
    assert torch.equal(seen["teacher"], unlabelled.image)


def test_uncertain_voxels_are_left_out() -> None:
    """A teacher who knows nothing teaches nothing: the largest entropy is above every threshold."""
    network, given = Small(), streams()
    objective = MeanTeacher(DiceCE(CLASSES), uncertainty_views=4, ramp_up=1.0)
    objective.attach(network)
    for weight in objective.teacher.network.last.parameters():
        weight.data.zero_()
    assert float(step(objective, network, given, Progress(0, 100, 0))["loss_unlabelled"]) == 0
    objective.teacher.network.last.bias.data += torch.tensor([9.0, 0.0, 0.0])
    assert float(step(objective, network, given, Progress(0, 100, 0))["loss_unlabelled"]) > 0


def test_the_teacher_follows_real_steps_alone_and_is_published() -> None:
    network = Small()
    objective = MeanTeacher(DiceCE(CLASSES), ema_decay=0.9)
    objective.attach(network)
    assert isinstance(objective, Deploys)
    before = copy.deepcopy(objective.teacher.network.state_dict())
    network.first.weight.data += 1
    assert all(torch.equal(v, before[k]) for k, v in objective.teacher.network.state_dict().items())
    objective.after_step(network, Progress(100, 200, 1))
    moved = objective.teacher.network.first.weight
    torch.testing.assert_close(moved, before["first.weight"] + 0.1)
    assert objective.deployed(network) is objective.teacher.network
    assert objective.deployed(network).state_dict().keys() == network.state_dict().keys()
    assert MeanTeacher(DiceCE(CLASSES), publish_teacher=False).deployed(network) is network
    assert all(not p.requires_grad for p in objective.parameters())
    objective.train()
    assert not objective.teacher.network.training


def test_two_networks_differ_and_teach_each_other() -> None:
    network, given = Small(), streams()
    objective = CrossPseudoSupervision(DiceCE(CLASSES), weight=2.0, ramp_up=0.0, deep_supervision=False)
    torch.manual_seed(3)
    objective.attach(network)
    assert not torch.equal(objective.second.first.weight, network.first.weight)
    found = step(objective, network, given, LATE)
    both = torch.cat([given["labelled"].image, given["unlabelled"].image])
    answers = [each(both)[0] for each in (network, objective.second)]
    loss = DiceCE(CLASSES)
    labelled = sum(loss(each[:3], given["labelled"].label) for each in answers)
    crossed = sum(
        nn.functional.cross_entropy(mine, its.argmax(1)) for mine, its in (answers, reversed(answers))
    )
    assert float(found["loss_labelled"]) == pytest.approx(float(labelled.detach()), rel=1e-5)
    assert float(found["loss_unlabelled"]) == pytest.approx(float(crossed.detach()), rel=1e-5)


def test_only_sure_voxels_are_learned_from_strong_views() -> None:
    network, given = Small(), streams()
    for name, changed in (("fixmatch", {}), ("pseudo_labels", {})):
        objective = made(name, **changed)
        objective.attach(network)
        assert float(step(objective, network, given, LATE)["loss_unlabelled"]) == 0, (
            "nothing is that sure yet"
        )
        objective = made(name, confidence=0.0)
        objective.attach(network)
        assert float(step(objective, network, given, LATE)["loss_unlabelled"]) > 0


def test_without_changes_a_strong_view_is_the_weak_one() -> None:
    network, given = Small().eval(), streams()
    objective = StrongWeak(DiceCE(CLASSES), confidence=0.0, strength=0.0, cutmix=0.0, strong_views=2)
    objective.attach(network)
    found = step(objective, network, given, LATE)
    logits = network(given["unlabelled"].image)[0]
    expected = nn.functional.cross_entropy(logits, logits.argmax(1))
    assert float(found["loss_unlabelled"]) == pytest.approx(float(expected.detach()), rel=1e-5)


def test_dropped_features_are_half_of_what_unimatch_learns_without_labels() -> None:
    """0.25, 0.25 and 0.5 of two strong views and the weak one with dropped channels (Yang 2023)."""
    network, given = Small().eval(), streams()
    objective = StrongWeak(DiceCE(CLASSES), confidence=0.4, strong_views=2, feature_dropout=0.5)
    objective.attach(network)
    found = step(objective, network, given, LATE)
    image, present = given["unlabelled"].image, given["unlabelled"].present
    rows = network(image)[0].softmax(1)
    believed, sure = rows.argmax(1), rows.amax(1)
    torch.manual_seed(5)
    terms = []
    for _ in range(2):
        seen, its, trust = objective._view(
            given["unlabelled"], nn.functional.one_hot(believed).movedim(3, 1).float(), sure[:, None]
        )
        each = nn.functional.cross_entropy(network(seen)[0], its.argmax(1), reduction="none")
        terms.append((each * (trust[:, 0] >= 0.4)).mean())
    dropped = nn.functional.dropout2d(network.encode(image, present)[0], 0.5)
    assert set(((dropped != 0).flatten(2).any(2)).flatten().tolist()) == {True, False}, "whole channels"
    each = nn.functional.cross_entropy(network.decode([dropped])[0], believed, reduction="none")
    expected = 0.25 * terms[0] + 0.25 * terms[1] + 0.5 * (each * (sure >= 0.4)).mean()
    assert float(found["loss_unlabelled"]) == pytest.approx(float(expected.detach()), rel=1e-5)
    assert float(found["loss_unlabelled"]) > 0


def test_without_dropped_features_there_are_the_strong_views_alone() -> None:
    network, given = Small().eval(), streams()
    values = []
    for share in (0.0, 0.5):
        objective = StrongWeak(
            DiceCE(CLASSES), confidence=0.0, strength=0.0, cutmix=0.0, feature_dropout=share
        )
        objective.attach(network)
        values.append(float(step(objective, network, given, LATE)["loss_unlabelled"]))
    logits = network(given["unlabelled"].image)[0]
    plain = float(nn.functional.cross_entropy(logits, logits.argmax(1)).detach())
    assert values[0] == pytest.approx(plain, rel=1e-5)
    assert abs(values[1] - plain) > 1e-3


def test_the_teacher_may_believe_while_features_are_dropped() -> None:
    network, given = Small(), streams()
    objective = StrongWeak(DiceCE(CLASSES), confidence=0.0, teacher=True, feature_dropout=0.5)
    objective.attach(network)
    step(objective, network, given, LATE)["loss"].backward()
    assert all(p.grad is not None for p in network.parameters())
    assert all(p.grad is None for p in objective.teacher.parameters())


@pytest.mark.parametrize("dims", [2, 3])
def test_channels_are_dropped_as_a_whole_and_the_others_make_up_for_it(dims: int) -> None:
    torch.manual_seed(0)
    features = torch.rand(40, 50, *(3,) * dims) + 1
    found = drop_channels(features, 0.25)
    kept = (found != 0).flatten(2)
    assert torch.equal(kept.all(2), kept.any(2))
    assert float(kept.all(2).float().mean()) == pytest.approx(0.75, abs=0.02)
    where = kept.all(2)
    assert torch.allclose(found[where], features[where] / 0.75)


def test_features_that_cannot_be_dropped_are_refused() -> None:
    with pytest.raises(UserError, match=r"objective\.feature_dropout.*fusion=early or mid"):
        StrongWeak(DiceCE(CLASSES), feature_dropout=0.5).attach(nn.Conv2d(2, 3, 1))
    with pytest.raises(UserError, match=r"objective\.feature_dropout"):
        StrongWeak(DiceCE(CLASSES), feature_dropout=1.0)


def test_terms_of_a_compound_are_told_of_the_published_networks_labelled_loss() -> None:
    terms = {"ce": {"_target_": "medseg.losses.cross_entropy.CrossEntropy"}}
    loss = Compound(CLASSES, terms=terms, weights={"ce": 2.0})
    for kind in (MeanTeacher, CrossPseudoSupervision):
        objective, network, given = kind(loss), Small().eval(), streams()
        objective.attach(network)
        found = step(objective, network, given, LATE)
        label = given["labelled"].label[:, 0].long()
        expected = nn.functional.cross_entropy(network(given["labelled"].image)[0], label)
        assert float(found["loss_ce"]) == pytest.approx(float(expected.detach()), rel=1e-5)
        assert float(found["weight_ce"]) == 2.0


def test_entropy_and_pseudo_labels_by_hand() -> None:
    network, given = Small().eval(), streams()
    logits = network(given["unlabelled"].image)[0]
    rows = logits.softmax(1).detach()
    entropy = float(-(rows * rows.log()).sum(1).mean())
    found = step(EntropyMinimisation(DiceCE(CLASSES)), network, given, LATE)
    assert float(found["loss_unlabelled"]) == pytest.approx(entropy, rel=1e-5)
    found = step(PseudoLabels(DiceCE(CLASSES), confidence=0.4), network, given, LATE)
    each = nn.functional.cross_entropy(logits, logits.argmax(1), reduction="none")
    expected = (each * (rows.amax(1) >= 0.4)).mean()
    assert float(found["loss_unlabelled"]) == pytest.approx(float(expected.detach()), rel=1e-5)


def test_copy_paste_by_hand() -> None:
    """Against the paper's picture: two mixtures; voxels of people and of the teacher weigh as told."""
    network, given = Small().eval(), streams()
    objective = CopyPaste(DiceCE(CLASSES), weight=0.5, paste_from=0.0)
    objective.attach(network)
    torch.manual_seed(5)
    inside = objective._inside(given["labelled"].image)
    found = step(objective, network, given, LATE)
    image, raw = given["labelled"].image, given["unlabelled"].image[[0, 1, 2]]
    label = given["labelled"].label
    theirs = largest_components(network(given["unlabelled"].image)[0].argmax(1, keepdim=True).byte())[
        [0, 1, 2]
    ]
    seen = torch.cat([torch.where(inside, raw, image), torch.where(inside, image, raw)])
    logits = network(seen)[0]
    codes = torch.cat([torch.where(inside, theirs, label), torch.where(inside, label, theirs)])
    people = torch.cat([~inside.expand_as(label), inside.expand_as(label)])
    loss = DiceCE(CLASSES)
    ours, its = (float(loss(logits, codes.masked_fill(~mask, 255)).detach()) for mask in (people, ~people))
    assert float(found["loss_labelled"]) == pytest.approx(ours, rel=1e-5)
    assert float(found["loss_unlabelled"]) == pytest.approx(its, rel=1e-5)
    assert float(found["loss"].detach()) == pytest.approx(ours + 0.5 * its, rel=1e-5)
    assert 0.2 < inside.float().mean() < 0.7


def test_the_largest_component_of_each_class_stays() -> None:
    codes = torch.zeros(1, 1, 7, 7, dtype=torch.uint8)
    codes[0, 0, :2, :2], codes[0, 0, 5, 5], codes[0, 0, 3, :5] = 1, 1, 2
    kept = largest_components(codes)
    assert (kept == 1).sum() == 4
    assert kept[0, 0, 5, 5] == 0
    assert torch.equal(kept == 2, codes == 2)
