"""Probabilities of a batch of windows: the mean over networks, mirrored copies and dropout passes.

Everything is averaged as probabilities, not as logits: they are bounded, so that one over-confident
fold or flip cannot outvote the others, and the result is what each of them would report by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from medseg.inference.entropy import entropy
from medseg.inference.hardware import autocast
from medseg.inference.mc_dropout import dropping
from medseg.inference.tta import flipped_mean


def probabilities(logits: Tensor, overlapping: bool) -> Tensor:
    """``(B, K, *S)`` logits -> probabilities in 32 bits: sigmoid per region, or softmax over classes."""
    logits = logits.float()
    return logits.sigmoid() if overlapping else logits.softmax(dim=1)


@dataclass(frozen=True)
class Opinions:
    """Whose probabilities are averaged, beside the networks' own.

    Attributes:
        spread: a last channel is added: the mean of the members' entropies, see `medseg.inference.entropy`.
            What the entropy of their mean has more than it is what they disagree about (mutual information).
        passes: with dropout; 0 for one pass without it.
        seed: of the dropout.
    """

    spread: bool = False
    passes: int = 0
    seed: int = 0


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
        opinions: passes with dropout, and whether their spread is told.
    """

    networks: Sequence[nn.Module]
    overlapping: bool
    flip_axes: tuple[int, ...]
    spatial_dims: int
    present: Tensor
    device: torch.device
    precision: str
    modality_ids: Tensor | None = None
    opinions: Opinions = field(default_factory=Opinions)
    _scored: list[int] = field(default_factory=lambda: [0], compare=False)

    def __call__(self, windows: Tensor) -> Tensor:
        """``(B, M, w, h, d)`` -> ``(B, K, w, h, d)`` float32 on ``device``, one more for the spread."""
        image = windows.to(self.device, non_blocking=True)
        if self.spatial_dims == 2:
            image = image[..., 0]
        with torch.inference_mode():
            mean = self._dropped(image) if self.opinions.passes else self._mean(image)
            return mean[..., None] if self.spatial_dims == 2 else mean

    def _dropped(self, image: Tensor) -> Tensor:
        """The mean over passes; window by window, so that its numbers do not depend on the batch it is in."""
        rows = []
        for one in image.chunk(len(image)):
            passes = self.opinions.passes
            total: Tensor | None = None
            for number in range(passes):
                with dropping(self.networks, self.device, self.opinions.seed, self._scored[0], number):
                    scores = self._mean(one)
                total = scores if total is None else total + scores
            assert total is not None
            self._scored[0] += 1
            rows.append(total / passes)
        return torch.cat(rows)

    def _mean(self, image: Tensor) -> Tensor:
        total: Tensor | None = None
        for network in self.networks:
            scores = flipped_mean(lambda x, n=network: self._one(n, x), image, self.flip_axes)  # type: ignore[misc]
            total = scores if total is None else total + scores
        assert total is not None
        return total / len(self.networks)

    def _one(self, network: nn.Module, image: Tensor) -> Tensor:
        present = self.present.to(image.device).expand(image.shape[0], -1)
        with autocast(self.device, self.precision):
            if self.modality_ids is None:
                logits = network(image, present)[0]
            else:
                ids = self.modality_ids.to(image.device).expand(image.shape[0], -1)
                logits = network(image, present, ids)[0]
        found = probabilities(logits, self.overlapping)
        if not self.opinions.spread:
            return found
        return torch.cat([found, entropy(found, self.overlapping, dim=1)[:, None]], dim=1)
