"""Mask R-CNN (He 2017) with a feature pyramid, of torchvision's parts (2D)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.rpn import RPNHead
from torchvision.ops import MultiScaleRoIAlign

from medseg.contracts import Topology
from medseg.errors import UserError
from medseg.networks.encoder_norm import EncoderNorm, NormedEncoder
from medseg.networks.instance_network import MaskRCNNNetwork, PyramidBackbone
from medseg.networks.region_heads import RegionHeads
from medseg.networks.region_proposals import RegionProposals
from medseg.networks.weight_file import refuse_hash_alone

_DEPTH, _RATIOS = 5, (0.5, 1.0, 2.0)
_BOX_GRID, _MASK_GRID = 7, 14
_BEFORE_NMS, _ANCHORS_PER_IMAGE = 1000, 256


class MaskRCNN:
    """Finds objects one by one: regions that may hold one, then the class, box and mask of each.

    Trained by ``objective=instances``. Its logits are made of the objects found, see `class_probabilities`.
    Images are taken as they are, neither resized nor normalised. Of the topology only the patch is used.

    Args:
        topology: for the patch.
        encoder_name: a name of segmentation-models-pytorch, or ``tu-`` and a name of timm.
        weights: ``null`` for random ones, ``imagenet`` to fetch the encoder's, or a ``.safetensors`` or
            ``.pth`` file, of the encoder or of a whole Mask R-CNN as torchvision saves it. Read before a
            training only: a bundle holds its own. The first convolution is adapted to any number of channels.
        weights_sha256: what the file's SHA-256 must be; ``null`` does not check it.
        norm: of the encoder: ``batch``; ``group`` for small batches; ``frozen``, with ``weights``: a batch
            norm that keeps what it was loaded with.
        width: channels of the pyramid and the heads; the box head has four times as many.
        finest_stride: of the pyramid, 4 as in the paper, or 2 for the smallest lesions.
        anchor_sizes: sides in voxels, one for each level of the pyramid (strides 4 to 64, or 2 to 64);
            ``null``: from twice the finest stride to the patch's shorter side, evenly in the logarithm.
        proposals: regions looked at in each image.
        regions_per_image: that are learned from in each image, at most a quarter of them with an object.
        score_threshold: objects less sure are dropped.
        nms_threshold: of two objects of a class that overlap more (IoU), the less sure is dropped.
        detections: objects in each image, at most.

    Raises:
        UserError: an option out of range.
    """

    MODULAR: ClassVar[bool] = False
    DIMS: ClassVar[tuple[int, ...]] = (2,)
    DIVISOR: ClassVar[int] = 32
    INSTANCES: ClassVar[bool] = True

    def __init__(
        self,
        topology: Topology,
        *,
        encoder_name: str = "resnet50",
        weights: str | None = None,
        weights_sha256: str | None = None,
        norm: EncoderNorm = "batch",
        width: int = 128,
        finest_stride: int = 4,
        anchor_sizes: Sequence[float] | None = None,
        proposals: int = 300,
        regions_per_image: int = 128,
        score_threshold: float = 0.05,
        nms_threshold: float = 0.5,
        detections: int = 50,
    ) -> None:
        self.topology, self.encoder_name = topology, encoder_name
        self.weights, self.weights_sha256, self.norm = weights, weights_sha256, norm
        self.width, self.finest_stride = width, finest_stride
        self.proposals, self.regions_per_image = proposals, regions_per_image
        self.score_threshold, self.nms_threshold = score_threshold, nms_threshold
        self.detections = detections
        self._refuse()
        self.anchor_sizes = self._anchors(anchor_sizes)

    def whole(self, in_channels: int, out_channels: int, deep_supervision: bool) -> nn.Module:
        """The network; it has no coarser logits.

        Raises:
            UserError: there is no class beside the background.
        """
        if out_channels < 2:
            fix = "use data.labels with exclusive classes, or another network"
            raise UserError("network", "it finds objects of exclusive classes, here is one region", fix)
        encoder = NormedEncoder(self.encoder_name, in_channels, _DEPTH, self.norm)
        backbone = PyramidBackbone(encoder, self.width, self.finest_stride)
        rpn, heads = self._proposals(), self._heads(out_channels)
        classes = out_channels - 1
        return MaskRCNNNetwork(backbone, rpn, heads, classes, self.weights, self.weights_sha256)

    def _proposals(self) -> RegionProposals:
        anchors = AnchorGenerator(tuple((size,) for size in self.anchor_sizes), (_RATIOS,) * self._levels)
        return RegionProposals(
            anchors,
            RPNHead(self.width, len(_RATIOS)),
            fg_iou_thresh=0.7,
            bg_iou_thresh=0.3,
            batch_size_per_image=_ANCHORS_PER_IMAGE,
            positive_fraction=0.5,
            pre_nms_top_n={"training": _BEFORE_NMS, "testing": _BEFORE_NMS},
            post_nms_top_n={"training": self.proposals, "testing": self.proposals},
            nms_thresh=0.7,
        )

    def _heads(self, out_channels: int) -> RegionHeads:
        hidden = 4 * self.width
        return RegionHeads(
            self._pool(_BOX_GRID),
            TwoMLPHead(self.width * _BOX_GRID**2, hidden),
            FastRCNNPredictor(hidden, out_channels),
            fg_iou_thresh=0.5,
            bg_iou_thresh=0.5,
            batch_size_per_image=self.regions_per_image,
            positive_fraction=0.25,
            bbox_reg_weights=None,
            score_thresh=self.score_threshold,
            nms_thresh=self.nms_threshold,
            detections_per_img=self.detections,
            mask_roi_pool=self._pool(_MASK_GRID),
            mask_head=MaskRCNNHeads(self.width, (self.width,) * 4, 1),
            mask_predictor=MaskRCNNPredictor(self.width, self.width, out_channels),
        )

    def _pool(self, grid: int) -> Any:
        names = [str(level) for level in range(self._levels - 1)]  # the coarsest serves the proposals alone
        return MultiScaleRoIAlign(names, output_size=grid, sampling_ratio=2)

    @property
    def _levels(self) -> int:
        return 6 if self.finest_stride == 2 else 5

    def _anchors(self, asked: Sequence[float] | None) -> tuple[float, ...]:
        if asked is None:
            low, high = 2.0 * self.finest_stride, float(min(self.topology.patch_size))
            share = [level / (self._levels - 1) for level in range(self._levels)]
            return tuple(low * (max(high, low) / low) ** s for s in share)
        if len(asked) != self._levels or min(asked) <= 0:
            problem = f"{list(asked)} is not a positive size for each of the {self._levels} levels"
            raise UserError("network.anchor_sizes", problem, "give for example [8, 16, 32, 64, 128], or null")
        return tuple(float(size) for size in asked)

    def _refuse(self) -> None:
        refuse_hash_alone(self.weights, self.weights_sha256)
        if self.finest_stride not in (2, 4):
            raise UserError("network.finest_stride", f"{self.finest_stride} is neither", "give 2 or 4")
        for name in ("width", "proposals", "regions_per_image", "detections"):
            if getattr(self, name) < 1:
                raise UserError(f"network.{name}", f"{getattr(self, name)} is too few", "give 1 or more")
        for name in ("score_threshold", "nms_threshold"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"network.{name}", f"{getattr(self, name)} is outside [0, 1)", "give 0 to 1")
        if self.norm == "frozen" and self.weights is None:
            problem = "frozen norms of random weights normalise nothing"
            raise UserError("network.norm", problem, "give network.weights, or norm=batch or group")
        if self.norm == "group" and self.weights is not None:
            problem = "weights are of batch norms, not of group norms"
            raise UserError("network.norm", problem, "use norm=batch or frozen, or weights=null")
