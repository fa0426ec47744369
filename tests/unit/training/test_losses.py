"""What a run fills into its loss: class weights by name, and the plan's spacing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

from medseg.config.compose import compose
from medseg.contracts import Labels
from medseg.data.fingerprint import CaseFacts, Fingerprint
from medseg.data.plan import Plan
from medseg.errors import UserError
from medseg.training.class_weights import balanced_weights
from medseg.training.losses import build_loss
from medseg.training.run_folder import RunFolder

CLASSES = Labels(("liver", "tumour"), ((1,), (2,)))
REGIONS = Labels(("whole", "core"), ((1, 2, 4), (1, 4)), overlapping=True)
PLAN = Plan(
    spatial_dims=3, modalities=("ct",), axes=(0, 1, 2), spacing=(0.8, 1.0, 5.0), patch_size=(8, 8, 4),
    batch_size=2, strides=((1, 1, 1), (2, 2, 1)), kernels=((3, 3, 1), (3, 3, 3)), widths=(4, 8),
    normalisation={}, in_plane_only=True, precision="32-true",
)  # fmt: skip
VOXELS = {"0": 900, "1": 90, "2": 10}


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    folder.note(class_voxels=VOXELS)
    return folder


def spec_of(*words: str) -> dict[str, Any]:
    composed = compose("train", list(words))
    assert not composed.problems
    found: dict[str, Any] = composed.config["loss"]
    return found


@given(st.lists(st.integers(0, 2), min_size=1, max_size=60))
def test_balanced_is_scikit_learns(codes: list[int]) -> None:
    counts = {code: codes.count(code) for code in set(codes)}
    found = balanced_weights("balanced", counts, CLASSES)
    present = np.unique(codes)
    expected = dict(zip(present, compute_class_weight("balanced", classes=present, y=codes), strict=True))
    assert found == pytest.approx([expected.get(code, 1.0) for code in range(3)])
    tamer = balanced_weights("balanced_sqrt", counts, CLASSES)
    assert [w**2 for w in tamer] == pytest.approx(found)


def test_a_region_counts_all_that_is_in_it() -> None:
    counts = {0: 600, 1: 100, 2: 200, 3: 100}  # the codes of the values 1, 2 and 4
    assert balanced_weights("balanced", counts, REGIONS) == [1000 / (2 * 400), 1000 / (2 * 200)]
    assert balanced_weights("balanced", {0: 10}, CLASSES) == [1.0, 1.0, 1.0]
    with pytest.raises(UserError, match="needs labelled voxels"):
        balanced_weights("balanced", {}, CLASSES)
    with pytest.raises(UserError, match="needs labelled voxels"):
        balanced_weights("balanced", {0: 10}, REGIONS)


@pytest.mark.parametrize("name", ["cross_entropy", "dice_ce", "focal", "dice_focal", "top_k"])
@pytest.mark.parametrize("rule", ["balanced", "balanced_sqrt"])
def test_every_loss_with_class_weights_takes_them_by_name(name: str, rule: str, run: RunFolder) -> None:
    loss = build_loss(spec_of(f"loss={name}", f"loss.class_weights={rule}"), CLASSES, PLAN, run)
    expected = np.array([1000 / (3 * count) for count in VOXELS.values()])
    expected = expected if rule == "balanced" else np.sqrt(expected)
    buffers = [b for n, b in loss.named_buffers() if n.endswith("class_weights")]
    assert buffers[0].tolist() == pytest.approx(expected.tolist())
    kept = json.loads((run.path / "record.json").read_text())
    assert kept["class_weights"] == {"loss.class_weights": pytest.approx(expected.tolist())}


def test_terms_of_a_compound_take_them_too(run: RunFolder) -> None:
    words = ["loss=dice_topk", "loss.terms.top_k.class_weights=balanced"]
    loss = build_loss(spec_of(*words), CLASSES, PLAN, run)
    assert loss.terms[1].class_weights.tolist() == pytest.approx([1000 / (3 * n) for n in VOXELS.values()])
    assert [*run.record["class_weights"]] == ["loss.terms.top_k.class_weights"]


def test_numbers_stay_and_leave_no_record(run: RunFolder) -> None:
    loss = build_loss(spec_of("loss.class_weights=[1,2,3]"), CLASSES, PLAN, run)
    assert loss.cross_entropy.class_weights.tolist() == [1, 2, 3]
    assert build_loss(spec_of(), CLASSES, PLAN, run).cross_entropy.class_weights is None
    assert "class_weights" not in run.record


def test_an_unknown_rule_is_told_by_the_configuration() -> None:
    found = compose("train", ["loss.class_weights=balance"]).problems
    assert len(found) == 1
    assert "did you mean balanced?" in found[0]


def test_distances_have_the_plans_spacing(run: RunFolder) -> None:
    for dims, expected in ((3, (0.8, 1.0, 5.0)), (2, (0.8, 1.0))):
        plan = replace(PLAN, spatial_dims=dims)
        assert build_loss(spec_of("loss=boundary"), CLASSES, plan, run).spacing == expected
        loss = build_loss(spec_of("loss=dice_hausdorff"), CLASSES, plan, run)
        assert loss.terms[1].spacing == expected
    voxels = build_loss(spec_of("loss=boundary", "loss.spacing=[1,1,1]"), CLASSES, PLAN, run)
    assert voxels.spacing == (1.0, 1.0, 1.0)
    label = torch.zeros(1, 1, 3, 3, 3, dtype=torch.uint8)
    label[..., 1] = 1
    logits = torch.zeros(1, 3, 3, 3, 3)
    mm = build_loss(spec_of("loss=boundary"), CLASSES, PLAN, run)
    assert float(mm(logits, label)) == pytest.approx(5 * float(voxels(logits, label)))


def test_the_fingerprint_counts_labelled_cases_alone() -> None:
    facts = {"shape": (4, 4, 1), "cropped": (4, 4, 1), "spacing": (1.0, 1.0, 1.0), "orientation": "RAS"}
    cases = (
        CaseFacts("a", None, **facts, voxels={"1": 3, "2": 1}, images={}, background=5),
        CaseFacts("b", None, **facts, voxels={"1": 2}, images={}, background=14),
        CaseFacts("c", None, **facts, voxels=None, images={}),
    )
    assert Fingerprint("x", 3, ("ct",), cases, {}).class_voxels() == {0: 19, 1: 5, 2: 1}
