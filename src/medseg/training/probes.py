"""Probes of an encoder while it is pretrained: does it come to tell the classes apart?"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from medseg.contracts import Batch
from medseg.objectives.looks import features_at
from medseg.patches.on_device.augmenting import finished
from medseg.training.probe_scores import choose_voxels, linear, mean_dice, nearest_neighbours

CASES = 6
"""Training patients whose labels are looked at, half of them to learn the classes from, half to be asked."""
PROBED = 36
"""Patches of them."""
VOXELS = 8
"""Of every class in a patch."""


class Probes(L.Callback):
    """Logs ``probe/knn_dice`` and ``probe/linear_dice`` of single voxels' features.

    The features of all levels, at a few voxels of each class in each patch, of training patients alone;
    one half of them is classified by the other. Nothing of it reaches the training. As classes are drawn
    evenly, the numbers compare moments of one training, and are not those of a segmentation.

    Args:
        batches: labelled patches, the same each time.
        known: ids of the cases that the classes are learned from; all others are asked.
        epochs: the epochs (from 0) after which to look.
    """

    def __init__(
        self, batches: Iterable[Mapping[str, Batch]], known: Collection[str], epochs: Collection[int]
    ) -> None:
        self.batches, self.known, self.epochs = batches, frozenset(known), frozenset(epochs)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Runs after the epochs asked for; every rank finds the same."""
        if trainer.current_epoch not in self.epochs:
            return
        network = pl_module.network
        assert isinstance(network, nn.Module)
        was_training = network.training
        found = self.scores(network.eval(), pl_module.device)
        network.train(was_training)
        for name, value in found.items():
            pl_module.log(name, value, rank_zero_only=False)

    @torch.no_grad()
    def scores(self, network: nn.Module, device: torch.device | str = "cpu") -> dict[str, float]:
        """The Dice of both probes; empty where the patches show no foreground on either side."""
        generator = torch.Generator().manual_seed(0)
        rows, codes, known = [], [], []
        for batch in self.batches:
            patches = finished(batch["labelled"].to(device))
            assert patches.label is not None
            levels = network(patches.image, patches.present)
            for k, case in enumerate(patches.case):
                label = patches.label[k, 0].cpu()
                places = choose_voxels(label, VOXELS, generator)
                rows.append(_features([level[k] for level in levels], places, label.shape))
                codes.append(label[tuple(places.t())].long())
                known.append(torch.full((len(places),), case in self.known))
        return _judge(torch.cat(rows), torch.cat(codes), torch.cat(known))


def _features(levels: list[Tensor], places: Tensor, size: Any) -> Tensor:
    """``(K, F)``: the features of all levels at some voxels."""
    points = (2 * places + 1) / torch.tensor(size) - 1
    found = [features_at(level[None], points[None].to(level.device))[0] for level in levels]
    return torch.cat(found, dim=1).float().cpu()


def _judge(rows: Tensor, codes: Tensor, known: Tensor) -> dict[str, float]:
    if not (codes[known] > 0).any() or not (codes[~known] > 0).any():
        return {}
    mean, spread = rows[known].mean(0), rows[known].std(0).clamp(min=1e-6)
    rows = (rows - mean) / spread
    asked = rows[~known]
    answers = {
        "probe/knn_dice": nearest_neighbours(rows[known], codes[known], asked),
        "probe/linear_dice": linear(rows[known], codes[known], asked),
    }
    scores = {name: mean_dice(answer, codes[~known]) for name, answer in answers.items()}
    return {name: value for name, value in scores.items() if math.isfinite(value)}


def probe_epochs(epochs: int, every: int) -> list[int]:
    """Each ``every``-th epoch (from 0) and the last; none where it is 0."""
    return sorted({*range(every - 1, epochs, every), epochs - 1}) if every else []
