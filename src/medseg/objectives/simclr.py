"""SimCLR (Chen 2020): two looks at a patch are alike, looks at other patches are not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from medseg.contracts import Batch, Loss, Pyramid
from medseg.errors import UserError
from medseg.losses.nt_xent import gather_rows, nt_xent
from medseg.objectives.looks import Look, features_at, look, shared_points
from medseg.objectives.pretraining import Pretraining


class SimCLR(Pretraining):
    """NT-Xent between the projections of two looks, over all patches of all ranks; trains the encoder.

    With ``local_weight`` also between the features of the same place in both looks, against those of other
    places and patches (dense contrast, as in VADeR, Pinheiro 2020); these negatives are of one rank.

    Args:
        loss: goes unused, there are no labels.
        temperature: of both contrasts.
        hidden: channels inside the projection heads.
        projection: channels that are compared.
        crop: smallest share of the patch's sides that a look sees, from 0.5 to 1.
        flip: probability of mirroring, per axis.
        strength: of the changes of intensity.
        cutout: largest share of the volume that a box hides.
        local_weight: of the local contrast; 0 for none.
        local_level: the level of the encoder that it compares, 0 the finest, -1 the deepest.
        local_points: places per patch.
        probe_epochs: epochs between two probes of the encoder by labels of training patients; 0: none.

    Raises:
        UserError: an option out of range.
    """

    MIN_BATCH: ClassVar[int] = 2

    def __init__(
        self,
        loss: Loss,
        *,
        temperature: float = 0.2,
        hidden: int = 256,
        projection: int = 128,
        crop: float = 0.6,
        flip: float = 0.5,
        strength: float = 0.5,
        cutout: float = 0.2,
        local_weight: float = 0.0,
        local_level: int = -2,
        local_points: int = 16,
        probe_epochs: int = 10,
    ) -> None:
        super().__init__(loss, probe_epochs=probe_epochs)
        _in_range("temperature", temperature, 1e-3, 10)
        _in_range("crop", crop, 0.5, 1)
        _in_range("flip", flip, 0, 1)
        _in_range("strength", strength, 0, 2)
        _in_range("cutout", cutout, 0, 0.9)
        _in_range("local_weight", local_weight, 0, 100)
        for name, count in (("hidden", hidden), ("projection", projection), ("local_points", local_points)):
            _in_range(name, count, 1, 65536)
        self.temperature, self.hidden, self.projection = temperature, hidden, projection
        self.rules = {"crop": crop, "flip": flip, "strength": strength, "cutout": cutout}
        self.local_weight, self.local_level, self.local_points = local_weight, local_level, local_points

    def make_heads(self, levels: Pyramid, in_channels: int) -> None:
        """A head for the pooled deepest level, and one for places."""
        depth, channels = len(levels.channels), levels.channels
        self.head = _make_head(2 * channels[-1], self.hidden, self.projection)
        if self.local_weight:
            if not -depth <= self.local_level < depth:
                problem = f"{self.local_level} is no level of an encoder of {depth}"
                raise UserError("objective.local_level", problem, f"give {-depth} to {depth - 1}")
            self.local_head = _make_head(channels[self.local_level], self.hidden, self.projection)

    def levels_used(self, count: int) -> Sequence[int]:
        """The deepest, and that of the local contrast."""
        return [count - 1, *([self.local_level % count] if self.local_weight else [])]

    def terms(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """``loss``; ``matched``, the share of looks that find their partner; with two contrasts, each.

        Raises:
            UserError: a single patch over all ranks, which has nothing to be unlike.
        """
        first, second = (look(batch.image, batch.present, **self.rules) for _ in range(2))
        images = torch.cat([first.image, second.image])
        levels = network(images, batch.present.repeat(2, 1))
        rows = self.head(pool(levels[-1]))
        left, right = gather_rows(torch.cat(rows.chunk(2), dim=1)).chunk(2, dim=1)
        if len(left) < 2:
            problem = "a batch of one patch has no others to contrast it with"
            raise UserError(
                "plan.batch_size", problem, "give it, or training.unlabelled_batch_size, 2 or more"
            )
        loss, matched = nt_xent(left, right, self.temperature)
        if not self.local_weight:
            return {"loss": loss, "matched": matched}
        local = self._local(levels[self.local_level], first, second)
        total = loss + self.local_weight * local
        return {"loss": total, "matched": matched, "global": loss.detach(), "local": local.detach()}

    def _local(self, level: Tensor, first: Look, second: Look) -> Tensor:
        points = shared_points(first, second, self.local_points)
        left, right = (
            self.local_head(features_at(half, seen.place(points))).flatten(0, 1)
            for half, seen in zip(level.chunk(2), (first, second), strict=True)
        )
        return nt_xent(left, right, self.temperature)[0]


def pool(features: Tensor) -> Tensor:
    """``(B, C, *S)`` -> ``(B, 2C)``: mean and maximum; after an instance norm means alone say little."""
    flat = features.flatten(2)
    return torch.cat([flat.mean(2), flat.amax(2)], dim=1)


def _make_head(channels: int, hidden: int, projection: int) -> nn.Module:
    """Without a batch norm, so that patches of other ranks do not matter to a row."""
    return nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, projection))


def _in_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise UserError(f"objective.{name}", f"{value} is out of range", f"give {low:g} to {high:g}")
