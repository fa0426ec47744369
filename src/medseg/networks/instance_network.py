"""Mask R-CNN's parts joined: features, proposals, heads, and a map of what was found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from medseg.contracts import Instances
from medseg.networks.detector_weights import load_detector
from medseg.networks.paste_masks import Detections, as_logits, class_probabilities, outlined
from medseg.networks.region_heads import RegionHeads
from medseg.networks.region_proposals import RegionProposals, as_target
from medseg.networks.smp_encoder import SMPEncoder
from medseg.networks.weight_file import WeightFile


class PyramidBackbone(nn.Module):
    """An encoder and a feature pyramid (Lin 2017) of its levels, with one more at half the size.

    Args:
        encoder: features per level.
        width: channels of every level of the pyramid.
        finest_stride: levels finer than this are left out.
    """

    def __init__(self, encoder: SMPEncoder, width: int, finest_stride: int) -> None:
        super().__init__()
        self.body = encoder
        levels = zip(encoder.pyramid.channels, encoder.pyramid.strides, strict=True)
        channels = [count for count, stride in levels if min(stride) >= finest_stride]
        self.first = len(encoder.pyramid.channels) - len(channels)
        self.fpn = FeaturePyramidNetwork(channels, width, LastLevelMaxPool())

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """``(B, M, W, H)`` -> per level ``(B, width, w, h)``, finest first."""
        features = self.body(image)[self.first :]
        pyramid: dict[str, Tensor] = self.fpn({str(k): level for k, level in enumerate(features)})
        return pyramid


class MaskRCNNNetwork(nn.Module):
    """A `medseg.contracts.InstanceNetwork`.

    The names of its weights are torchvision's, but for the encoder's, which are one level deeper. All after
    the pyramid is computed in float32 (float64 for such an image), whatever autocast says: coordinates need
    their digits.

    Args:
        backbone: image -> features per level.
        rpn: features -> regions.
        roi_heads: features and regions -> objects.
        classes: without the background.
        weights: what `load_pretrained` loads: ``None``, ``imagenet``, or a file of the encoder or of a
            whole Mask R-CNN of torchvision.
        weights_sha256: what the file's SHA-256 must be.
    """

    def __init__(
        self,
        backbone: PyramidBackbone,
        rpn: RegionProposals,
        roi_heads: RegionHeads,
        classes: int,
        weights: str | None = None,
        weights_sha256: str | None = None,
    ) -> None:
        super().__init__()
        self.backbone, self.rpn, self.roi_heads = backbone, rpn, roi_heads
        self.classes, self.weights, self.weights_sha256 = classes, weights, weights_sha256

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """``(B, M, W, H)`` -> one ``(B, classes + 1, W, H)``: the logits of what was found."""
        size = (image.shape[2], image.shape[3])
        found = [as_logits(class_probabilities(each, self.classes, size)) for each in self.detect(image)]
        return (torch.stack(found),)

    def detect(self, image: Tensor) -> list[Detections]:
        """``(B, M, W, H)`` -> the objects in each image."""
        features, images = self._look(image)
        with _mode(False, self.rpn, self.roi_heads), torch.autocast(image.device.type, enabled=False):
            proposals, _ = self.rpn(images, features)
            found, _ = self.roi_heads(features, proposals, images.image_sizes)
        return [
            Detections(each["boxes"], each["labels"], each["scores"], each["masks"][:, 0]) for each in found
        ]

    def objects(self, image: Tensor, least: float) -> list[tuple[Tensor, Tensor, Tensor]]:
        """``(B, M, W, H)`` -> per image masks ``(N, W, H)`` bool, codes ``(N,)``, scores ``(N,)``.

        A voxel is of an object where its mask is above one half; objects with scores below ``least`` are left
        out.
        """
        size = (image.shape[2], image.shape[3])
        return [outlined(each, size, least) for each in self.detect(image)]

    def instance_losses(self, image: Tensor, instances: Sequence[Instances]) -> dict[str, Tensor]:
        """``(B, M, W, H)`` and the objects of each image -> the five losses.

        ``objectness`` and ``proposal_box`` of the proposals; ``classifier``, ``box`` and ``mask`` of the
        regions.
        """
        features, images = self._look(image)
        targets = [as_target(each.masks, each.labels, each.ignored) for each in instances]
        with _mode(True, self.rpn, self.roi_heads), torch.autocast(image.device.type, enabled=False):
            proposals, of_proposals = self.rpn(images, features, targets)
            of_regions = self.roi_heads.losses(features, proposals, images.image_sizes, targets)
        named = {"objectness": "loss_objectness", "proposal_box": "loss_rpn_box_reg"}
        return {name: of_proposals[theirs] for name, theirs in named.items()} | of_regions

    def every_region(self, image: Tensor) -> tuple[Tensor, ...]:
        """What one image costs at most: every head for as many regions as there may ever be, none chosen.

        ``(1, M, W, H)``; nothing in it depends on values, so it also runs without memory.
        """
        features, _ = self._look(image)
        heads, width = self.roi_heads, next(iter(features.values())).shape[1]
        regions, found = self.rpn._post_nms_top_n["testing"], heads.detections_per_img
        boxes = image.new_zeros(regions, width, *heads.box_roi_pool.output_size)
        masks = image.new_zeros(found, width, *heads.mask_roi_pool.output_size)
        scores, shifts = heads.box_predictor(heads.box_head(boxes))
        objectness, deltas = self.rpn.head(list(features.values()))
        return (*objectness, *deltas, scores, shifts, heads.mask_predictor(heads.mask_head(masks)))

    def load_pretrained(self) -> WeightFile | None:
        """Loads the weights asked for, if any; heads that depend on the classes stay random.

        Returns:
            What was loaded, for the record.

        Raises:
            UserError: no network, no file, another checksum, weights of something else.
        """
        return load_detector(self, self.backbone.body, self.weights, self.weights_sha256)

    def _look(self, image: Tensor) -> tuple[dict[str, Tensor], ImageList]:
        exact = torch.promote_types(image.dtype, torch.float32)
        features = {name: level.to(exact) for name, level in self.backbone(image).items()}
        size = (image.shape[2], image.shape[3])
        return features, ImageList(image, [size] * len(image))


@contextmanager
def _mode(training: bool, *parts: nn.Module) -> Iterator[None]:
    """Has the parts learn or detect, whatever mode the network is in: both are asked of it in either."""
    before = [part.training for part in parts]
    for part in parts:
        part.training = training
    try:
        yield
    finally:
        for part, mode in zip(parts, before, strict=True):
            part.training = mode
