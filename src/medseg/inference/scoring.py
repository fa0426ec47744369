"""Probabilities of a batch of windows: the mean over networks and over mirrored copies.

Everything is averaged as probabilities, not as logits: they are bounded, so that one over-confident
fold or flip cannot outvote the others, and the result is what each of them would report by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from medseg.inference.hardware import autocast
from medseg.inference.tta import flipped_mean


def probabilities(logits: Tensor, overlapping: bool) -> Tensor:
    """``(B, K, *S)`` logits -> probabilities in 32 bits: sigmoid per region, or softmax over classes."""
    logits = logits.float()
    return logits.sigmoid() if overlapping else logits.softmax(dim=1)


@dataclass(frozen=True)
class WindowScore:
    """What is computed for a batch of windows.

    Attributes:
        networks: in evaluation mode, on ``device``; their probabilities are averaged.
        overlapping: regions (sigmoid) or exclusive classes (softmax).
        flip_axes: spatial axes to mirror.
        spatial_dims: 2 for networks of slices; the windows are then one voxel deep.
        present: ``(M,)`` bool, which modalities the case has.
        device: where the networks are.
        precision: ``"32"``, ``"bf16"`` or ``"16"``.
        modality_ids: ``(N,)`` int64, which modality each image is, for networks that take unseen ones.
    """

    networks: Sequence[nn.Module]
    overlapping: bool
    flip_axes: tuple[int, ...]
    spatial_dims: int
    present: Tensor
    device: torch.device
    precision: str
    modality_ids: Tensor | None = None

    def __call__(self, windows: Tensor) -> Tensor:
        """``(B, M, w, h, d)`` -> ``(B, K, w, h, d)`` float32 on ``device``."""
        image = windows.to(self.device, non_blocking=True)
        if self.spatial_dims == 2:
            image = image[..., 0]
        total: Tensor | None = None
        with torch.inference_mode():
            for network in self.networks:
                scores = flipped_mean(lambda x, n=network: self._one(n, x), image, self.flip_axes)  # type: ignore[misc]
                total = scores if total is None else total + scores
            assert total is not None
            mean = total / len(self.networks)
            return mean[..., None] if self.spatial_dims == 2 else mean

    def _one(self, network: nn.Module, image: Tensor) -> Tensor:
        present = self.present.to(image.device).expand(image.shape[0], -1)
        with autocast(self.device, self.precision):
            if self.modality_ids is None:
                logits = network(image, present)[0]
            else:
                ids = self.modality_ids.to(image.device).expand(image.shape[0], -1)
                logits = network(image, present, ids)[0]
        return probabilities(logits, self.overlapping)
