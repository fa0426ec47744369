"""Mask R-CNN: torchvision's numbers from torchvision's weights, and what was added to it."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models.detection import MaskRCNN as Original
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

from medseg.contracts import Encoder, InstanceNetwork, Instances, Topology
from medseg.errors import UserError
from medseg.files import file_hash
from medseg.fusion.early import EarlyFusion
from medseg.networks.cost import most_gflop
from medseg.networks.instance_network import MaskRCNNNetwork
from medseg.networks.mask_rcnn import MaskRCNN
from medseg.networks.paste_masks import Detections, as_logits, class_probabilities, paste
from medseg.networks.region_proposals import boxes_of, ignored_share
from medseg.networks.smp_encoder import make_body

TOPOLOGY = Topology(2, (64, 64), ((1, 1), (2, 2)), ((3, 3),) * 2, (4, 8))
SMALL: dict[str, Any] = {"encoder_name": "resnet18", "width": 16, "proposals": 40, "detections": 10}
TWO = torch.zeros(2, 64, 64, dtype=torch.bool)
TWO[0, 8:24, 10:40], TWO[1, 40:46, 50:58] = True, True
KNOWN, UNKNOWN = torch.zeros(64, 64, dtype=torch.bool), torch.ones(64, 64, dtype=torch.bool)
NONE = torch.zeros(0, dtype=torch.int64)
OBJECTS = Instances(TWO, torch.tensor([1, 2]), KNOWN)
EMPTY, IGNORED = Instances(TWO[:0], NONE, KNOWN), Instances(TWO[:0], NONE, UNKNOWN)


def make(channels: int = 2, topology: Topology = TOPOLOGY, **options: Any) -> MaskRCNNNetwork:
    torch.manual_seed(0)
    network = MaskRCNN(topology, **(SMALL | options)).whole(channels, 3, False)
    assert isinstance(network, MaskRCNNNetwork)
    return network


def draw(batch: int = 2, channels: int = 2) -> Tensor:
    return torch.randn(batch, channels, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def original() -> Original:
    """torchvision's own, with the sizes that ours has in `test_it_is_torchvisions`."""
    torch.manual_seed(5)
    return Original(
        resnet_fpn_backbone(
            backbone_name="resnet18", weights=None, norm_layer=nn.BatchNorm2d, trainable_layers=5
        ),
        num_classes=3,
        min_size=64,
        max_size=64,
        image_mean=[0.0] * 3,
        image_std=[1.0] * 3,
        _skip_resize=True,
        rpn_anchor_generator=AnchorGenerator(((8,), (12,), (20,), (32,), (64,)), ((0.5, 1.0, 2.0),) * 5),
        rpn_pre_nms_top_n_train=1000,
        rpn_post_nms_top_n_train=20,
        rpn_post_nms_top_n_test=20,
        box_batch_size_per_image=16,
        box_detections_per_img=5,
    )


@pytest.fixture(scope="module")
def file(original: Original, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its weights, as one would save them."""
    path = tmp_path_factory.mktemp("weights") / "detector.pth"
    torch.save(original.state_dict(), path)
    return path


def test_it_is_torchvisions(original: Original, file: Path) -> None:
    """The same losses, gradients and objects from the same weights."""
    ours = make(
        3, width=256, proposals=20, regions_per_image=16, detections=5, anchor_sizes=[8, 12, 20, 32, 64],
        weights=str(file), weights_sha256=file_hash(file),
    )  # fmt: skip
    found = ours.load_pretrained()
    assert found is not None
    assert found.sha256 == file_hash(file)
    of_classes = {k: v for k, v in original.roi_heads.state_dict().items() if "predictor" in k}
    ours.roi_heads.load_state_dict(of_classes, strict=False)
    ours, theirs, image = ours.double(), copy.deepcopy(original).double(), draw(channels=3).double()
    targets = [
        {"boxes": boxes_of(each.masks).double(), "labels": each.labels, "masks": each.masks.byte()}
        for each in (OBJECTS, EMPTY)
    ]
    torch.manual_seed(2)
    expected = theirs.train()(list(image), targets)
    torch.manual_seed(2)
    losses = ours.train().instance_losses(image, [OBJECTS, EMPTY])
    for name, value in losses.items():
        their_name = {
            "objectness": "loss_objectness",
            "proposal_box": "loss_rpn_box_reg",
            "box": "loss_box_reg",
        }
        torch.testing.assert_close(value, expected[their_name.get(name, f"loss_{name}")])
    torch.stack([*losses.values()]).sum().backward()
    torch.stack([*expected.values()]).sum().backward()
    gradients = dict(theirs.named_parameters())
    for name, weight in ours.named_parameters():
        torch.testing.assert_close(weight.grad, gradients[name.replace("body.body", "body")].grad)
    with torch.no_grad():
        objects = theirs.eval()(list(image))
        for one, other in zip(ours.eval().detect(image), objects, strict=True):
            torch.testing.assert_close(one.boxes, other["boxes"])
            torch.testing.assert_close(one.scores, other["scores"])
            assert torch.equal(one.labels, other["labels"])


def test_weights_of_a_detector_are_adapted_to_the_channels(original: Original, file: Path) -> None:
    ours = make(1, width=256, weights=str(file))
    ours.load_pretrained()
    theirs = original.state_dict()
    first = theirs["backbone.body.conv1.weight"].sum(1, keepdim=True)
    assert torch.equal(ours.backbone.body.body.conv1.weight, first)  # type: ignore[union-attr]
    for name in ("backbone.fpn.layer_blocks.2.0.weight", "rpn.head.cls_logits.weight"):
        assert torch.equal(ours.state_dict()[name], theirs[name])


def test_weights_of_an_encoder_are_taken_too(tmp_path: Path) -> None:
    torch.manual_seed(9)
    body = make_body("resnet18", 3, 5)
    save_file(body.state_dict(), tmp_path / "encoder.safetensors")
    frozen = make(3, norm="frozen", weights=str(tmp_path / "encoder.safetensors"))
    frozen.load_pretrained()
    assert torch.equal(frozen.backbone.body.body.conv1.weight, body.conv1.weight)  # type: ignore[union-attr]
    before = {k: v.clone() for k, v in frozen.backbone.body.state_dict().items() if "running" in k}
    frozen.train()(draw(channels=3))
    after = frozen.backbone.body.state_dict()
    assert before
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert make(3).load_pretrained() is None


def test_weights_that_do_not_fit_are_refused(file: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"network\.width=256"):
        make(3, weights=str(file)).load_pretrained()
    with pytest.raises(UserError, match=r"does not fit.*encoder_name"):
        make(3, encoder_name="resnet34", weights=str(file)).load_pretrained()
    with pytest.raises(UserError, match="SHA-256"):
        make(3, weights=str(file), weights_sha256="0" * 64).load_pretrained()
    with pytest.raises(UserError, match="is not a file"):
        make(3, weights=str(tmp_path / "none.pth")).load_pretrained()


@pytest.mark.parametrize(
    "instances", [[OBJECTS, EMPTY], [EMPTY, EMPTY], [IGNORED, IGNORED], [IGNORED, OBJECTS]],
    ids=["some", "none", "unknown", "mixed"],
)  # fmt: skip
@pytest.mark.parametrize("options", [{}, {"norm": "group", "finest_stride": 2}], ids=["batch", "group"])
def test_every_step_reaches_every_parameter(instances: list[Instances], options: dict[str, Any]) -> None:
    network = make(**options)
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        gradients = []
        for _ in range(2):
            network.zero_grad()
            torch.manual_seed(3)
            losses = network.instance_losses(draw(), instances)
            torch.stack([*losses.values()]).sum().backward()
            gradients.append([weight.grad for weight in network.parameters()])
    finally:
        torch.use_deterministic_algorithms(before)
    assert all(torch.isfinite(value) for value in losses.values())
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients[0])
    assert all(torch.equal(*pair) for pair in zip(*gradients, strict=True)), "the seed decides every bit"


def test_nothing_is_learned_from_ignored_voxels() -> None:
    losses = make().instance_losses(draw(), [IGNORED, IGNORED])
    assert all(float(value.detach()) == 0 for value in losses.values())


def test_anchors_on_ignored_voxels_are_no_background() -> None:
    network, ignored = make(), KNOWN.clone()
    ignored[:, 32:] = True
    anchors = torch.tensor([[40.0, 4.0, 56.0, 20.0], [4.0, 4.0, 20.0, 20.0], [9.5, 7.5, 39.5, 23.5]])
    target = {"boxes": boxes_of(TWO[:1]), "ignored": ignored}
    (labels,), _ = network.rpn.assign_targets_to_anchors([anchors], [target])
    assert labels.tolist() == [-1, 0, 1]


def test_it_is_asked_through_early_fusion_and_names_its_encoder() -> None:
    fused = EarlyFusion(MaskRCNN(TOPOLOGY, **SMALL), 2, 3, False)
    assert [type(m) for m in fused.modules() if isinstance(m, InstanceNetwork)] == [MaskRCNNNetwork]
    encoders = [m for m in fused.modules() if isinstance(m, Encoder)]
    assert len(encoders) == 1
    stages = encoders[0].parameter_stages  # type: ignore[attr-defined]
    assert {p for stage in stages for p in stage} == {*encoders[0].parameters()}  # type: ignore[attr-defined]


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 4), st.integers(0, 1000))
def test_softmax_gives_the_probabilities_back(classes: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    each = torch.rand(classes, 5, 4, generator=generator).square()
    each[:, 0, 0], each[0, 0, 1] = 0.0, 1.0
    logits = as_logits(each)
    assert logits.shape == (classes + 1, 5, 4)
    assert logits.isfinite().all()
    found = logits.softmax(0)
    each = each.clamp(1e-6, 1 - 1e-6)
    odds = each / (1 - each)
    expected = torch.cat([torch.ones(1, 5, 4), odds]) / (1 + odds.sum(0))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-6)
    if classes == 1:
        torch.testing.assert_close(found[1], each[0], rtol=1e-3, atol=1e-6)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 1000), st.integers(1, 9))
def test_a_mask_is_pasted_voxel_by_voxel(seed: int, side: int) -> None:
    """One of as many cells as its box has voxels comes out as it was; what is beyond the image is cut."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(side, side, generator=generator)
    x, y = torch.randint(-4, 14, (2,), generator=generator).tolist()
    box = torch.tensor([[x - 0.5, y - 0.5, x + side - 0.5, y + side - 0.5]])
    expected = torch.zeros(12, 14)
    for row in range(12):
        for column in range(14):
            if 0 <= row - y < side and 0 <= column - x < side:
                expected[row, column] = mask[row - y, column - x]
    torch.testing.assert_close(paste(mask[None], box, (12, 14))[0], expected, rtol=1e-4, atol=1e-4)


def test_a_box_that_ends_at_the_image_reaches_its_first_and_last_voxels() -> None:
    """Boxes are cut to 0 and the size: half a voxel inside or outside of the outermost ones."""
    sure = torch.ones(1, 28, 28)
    whole = paste(sure, torch.tensor([[0.0, 0.0, 9.0, 7.0]]), (7, 9))
    torch.testing.assert_close(whole[0], torch.ones(7, 9))
    part = paste(sure, torch.tensor([[0.0, 2.0, 4.0, 7.0]]), (9, 9))
    expected = torch.zeros(9, 9)
    expected[2:8, :5] = 1
    torch.testing.assert_close(part[0], expected)
    found = Detections(torch.tensor([[0.0, 0.0, 4.0, 4.0]]), torch.tensor([1]), torch.tensor([0.9]), sure)
    assert as_logits(class_probabilities(found, 1, (8, 8))).argmax(0)[0, 0] == 1


def test_each_class_is_the_union_of_its_objects() -> None:
    boxes = torch.tensor([[-0.5, -0.5, 3.5, 3.5]] * 40)
    masks = torch.linspace(0, 0.3, 40)[:, None, None].expand(40, 4, 4)
    labels, scores = torch.arange(40) % 2 + 1, torch.linspace(0.2, 0.05, 40)
    found = class_probabilities(Detections(boxes, labels, scores, masks), 3, (4, 6))
    none = [1.0, 1.0, 1.0]
    for label, score, mask in zip(labels.tolist(), scores.tolist(), masks[:, 0, 0].tolist(), strict=True):
        none[label - 1] *= 1 - min(score, mask)
    torch.testing.assert_close(found[:, 0, 0], 1 - torch.tensor(none))
    assert (found[:, :, 4:] == 0).all()


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000))
def test_boxes_and_shares_against_brute_force(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    masks = torch.rand(3, 7, 9, generator=generator) > 0.9
    masks[:, 3, 4] = True
    for mask, box in zip(masks, boxes_of(masks), strict=True):
        rows, columns = mask.nonzero().T
        corners = [columns.min() - 0.5, rows.min() - 0.5, columns.max() + 0.5, rows.max() + 0.5]
        assert box.tolist() == [float(corner) for corner in corners]
    ignored = torch.rand(7, 9, generator=generator) > 0.5
    low = torch.rand(6, 2, generator=generator) * 14 - 4
    boxes = torch.cat([low, low + torch.rand(6, 2, generator=generator) * 8], dim=1)
    for box, share in zip(boxes.tolist(), ignored_share(boxes, ignored).tolist(), strict=True):
        inside = [
            bool(ignored[row, column])
            for row in range(7)
            for column in range(9)
            if box[1] <= row <= box[3] and box[0] <= column <= box[2]
        ]
        assert share == pytest.approx(sum(inside) / max(1, len(inside)))


def test_anchors_span_the_patch_and_can_be_given() -> None:
    patch = Topology(2, (128, 256), ((1, 1),), ((3, 3),), (4,))
    assert MaskRCNN(patch, **SMALL).anchor_sizes == pytest.approx((8, 16, 32, 64, 128))
    assert len(MaskRCNN(patch, **SMALL, finest_stride=2).anchor_sizes) == 6
    assert MaskRCNN(patch, **SMALL, anchor_sizes=[4, 8, 16, 32, 64]).anchor_sizes == (4, 8, 16, 32, 64)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"finest_stride": 8}, r"network\.finest_stride"),
        ({"anchor_sizes": [8, 16]}, r"network\.anchor_sizes.*5 levels"),
        ({"width": 0}, r"network\.width"),
        ({"detections": 0}, r"network\.detections"),
        ({"score_threshold": 1.0}, r"network\.score_threshold"),
        ({"nms_threshold": -0.1}, r"network\.nms_threshold"),
        ({"norm": "frozen"}, r"network\.norm.*network\.weights"),
        ({"norm": "group", "weights": "file.pth"}, r"network\.norm"),
        ({"weights_sha256": "0" * 64}, r"network\.weights_sha256.*no file"),
        ({"weights": "imagenet", "weights_sha256": "0" * 64}, r"network\.weights_sha256.*no file"),
        ({"norm": "group", "encoder_name": "tu-mobilenetv3_small_100"}, r"network\.norm.*norm=batch"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        make(**options)


def test_one_object_reaches_as_far_as_its_mask() -> None:
    """Where its score is above one half, and nowhere where it is not: the rule of the paper."""
    box, mask = torch.tensor([[-0.5, -0.5, 3.5, 3.5]]), torch.linspace(0.1, 0.9, 4).expand(1, 4, 4)
    for score in (0.3, 0.49, 0.51, 0.9):
        found = Detections(box, torch.tensor([1]), torch.tensor([score]), mask)
        shown = as_logits(class_probabilities(found, 1, (4, 4))).argmax(0).bool()
        assert torch.equal(shown, (mask[0] > 0.5) & (score > 0.5))


def test_one_channel_has_no_class() -> None:
    with pytest.raises(UserError, match="exclusive classes"):
        MaskRCNN(TOPOLOGY, **SMALL).whole(1, 1, False)


def test_its_objects_are_outlined_as_its_map_is() -> None:
    network = make(score_threshold=0.0).eval()
    image = draw()
    for masks, labels, scores in network.objects(image, 0.2):
        assert masks.dtype == torch.bool
        assert masks.shape == (len(labels), 64, 64)
        assert len(scores) == len(labels)
        assert all(scores >= 0.2)
    (found, *_), ((masks, labels, _), *_) = network.detect(image), network.objects(image, 0.0)
    assert torch.equal(labels, found.labels)
    for k in range(len(labels)):
        sure = Detections(found.boxes[[k]], found.labels[[k]], torch.ones(1), found.masks[[k]])
        probability = class_probabilities(sure, 2, (64, 64))[labels[k] - 1]
        assert torch.equal(masks[k], probability > 0.5)


def test_what_it_costs_at_most_is_what_it_costs_with_all_objects() -> None:
    options = {"score_threshold": 0.0, "nms_threshold": 0.99, "proposals": 20, "detections": 10}
    network = make(**options).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        (found,) = network.detect(draw(1))
    assert len(found.labels) == 10
    most = most_gflop(
        lambda: EarlyFusion(MaskRCNN(TOPOLOGY, **(SMALL | options)), 2, 3, False), (1, 2, 64, 64)
    )
    assert most == pytest.approx(counter.get_total_flops() / 1e9, rel=1e-6)
