"""What is in each region: class, box and mask (Girshick 2015, He 2017)."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.models.detection.roi_heads import RoIHeads, fastrcnn_loss, maskrcnn_loss

from medseg.networks.region_proposals import MOST_IGNORED, Target, ignored_share


class RegionHeads(RoIHeads):  # type: ignore[misc]
    """torchvision's, but regions on ignored voxels are no examples of background."""

    def losses(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        sizes: list[tuple[int, int]],
        targets: list[Target],
    ) -> dict[str, Tensor]:
        """The losses of class, box and mask; 0 with a gradient of zeros where there is nothing to learn.

        Args:
            features: per level ``(B, C, w, h)``.
            proposals: per image ``(R, 4)``.
            sizes: of the images.
            targets: per image ``boxes``, ``labels``, ``masks`` and ``ignored``.
        """
        known = [
            regions[ignored_share(regions, target["ignored"]) <= MOST_IGNORED]
            for regions, target in zip(proposals, targets, strict=True)
        ]
        regions, matches, labels, deltas = self.select_training_samples(known, targets)
        scores, shifts = self.box_predictor(self.box_head(self.box_roi_pool(features, regions, sizes)))
        if any(len(label) for label in labels):
            classifier, box = fastrcnn_loss(scores, shifts, labels, deltas)
        else:
            classifier, box = scores.sum() * 0, shifts.sum() * 0
        mask = self._mask_loss(features, regions, sizes, targets, matches, labels)
        return {"classifier": classifier, "box": box, "mask": mask}

    def _mask_loss(
        self,
        features: dict[str, Tensor],
        regions: list[Tensor],
        sizes: list[tuple[int, int]],
        targets: list[Target],
        matches: list[Tensor],
        labels: list[Tensor],
    ) -> Tensor:
        """Of the regions that show an object; the mask of its class alone is compared."""
        objects = [torch.where(label > 0)[0] for label in labels]
        regions = [boxes[rows] for boxes, rows in zip(regions, objects, strict=True)]
        matches = [match[rows] for match, rows in zip(matches, objects, strict=True)]
        pooled = self.mask_roi_pool(features, regions, sizes)
        logits = self.mask_predictor(self.mask_head(pooled))
        masks, codes = ([target[name] for target in targets] for name in ("masks", "labels"))
        loss: Tensor = maskrcnn_loss(logits, regions, masks, codes, matches)
        return loss
