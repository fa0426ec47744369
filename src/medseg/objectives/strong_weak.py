"""FixMatch (Sohn 2020) with CutMix; with two strong views and dropped features UniMatch (Yang 2023)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from medseg.contracts import Batch, Loss, Progress
from medseg.errors import UserError
from medseg.objectives.beliefs import cross_entropy, hardened, probabilities
from medseg.objectives.semi_supervised import Taught
from medseg.objectives.views import boxes, mixed, strong


class StrongWeak(Taught):
    """What is believed of the weak view, where it is sure, is learned from strong views of the same patch.

    The weak view is the queue's patch. A strong view changes its intensities strongly and pastes a box of
    another patch of the batch into it, with the beliefs of that patch. With ``teacher`` the moving average
    believes instead of the network itself.

    With ``feature_dropout`` the same is learned from the weak view itself, while whole channels of the
    features between encoder and decoder are dropped. The unlabelled term is then half of that, and half of
    the mean over the strong views: 0.25, 0.25 and 0.5 with two, as in UniMatch.

    Args:
        loss: of the labelled stream.
        weight: of the strong views' cross-entropy, once it has grown.
        ramp_up: share of the training in which it grows.
        confidence: voxels count where the belief has at least this probability.
        strong_views: 1 as in FixMatch, 2 as in UniMatch.
        strength: of the changes of intensity, see `views.strong`.
        cutmix: probability that a strong view gets a box of another patch.
        feature_dropout: probability that a channel of a level is dropped, 0.5 in UniMatch; 0 for no such
            stream. The fusion then needs `encoding` and `decode`: early or mid, of networks in halves.
        teacher: whether the moving average believes, instead of the network.
        ema_decay: of it.
        publish_teacher: whether validation and the bundle take it.
        deep_supervision: of the labelled loss.
        decay: how much each coarser level weighs against the finer one.
    """

    def __init__(
        self,
        loss: Loss,
        *,
        weight: float = 1.0,
        ramp_up: float = 0.0,
        confidence: float = 0.95,
        strong_views: int = 1,
        strength: float = 0.5,
        cutmix: float = 0.5,
        feature_dropout: float = 0.0,
        teacher: bool = False,
        ema_decay: float = 0.99,
        publish_teacher: bool = True,
        deep_supervision: bool = True,
        decay: float = 0.5,
    ) -> None:
        super().__init__(
            loss,
            weight=weight,
            ramp_up=ramp_up,
            ema_decay=ema_decay,
            publish_teacher=publish_teacher,
            deep_supervision=deep_supervision,
            decay=decay,
        )
        if strong_views < 1 or not 0 <= confidence < 1 or not 0 <= cutmix <= 1:
            problem = f"strong_views {strong_views}, confidence {confidence}, cutmix {cutmix}: out of range"
            raise UserError("objective", problem, "give strong_views >= 1, confidence and cutmix from 0 to 1")
        if not 0 <= feature_dropout < 1:
            problem = f"{feature_dropout} is no probability below 1"
            raise UserError("objective.feature_dropout", problem, "give for example 0.5, or 0 for none")
        self.feature_dropout = feature_dropout
        self.confidence, self.strong_views, self.strength = confidence, strong_views, strength
        self.cutmix, self.believes = cutmix, teacher

    def attach(self, network: nn.Module) -> None:
        """Makes the teacher.

        Raises:
            UserError: features are to be dropped and the network has none between two halves.
        """
        if self.feature_dropout and not (hasattr(network, "encoding") and hasattr(network, "decode")):
            problem = f"{type(network).__name__} has no features between an encoder and a decoder to drop"
            raise UserError("objective.feature_dropout", problem, "give 0, or use fusion=early or mid")
        super().attach(network)

    def terms(
        self, network: nn.Module, labelled: Batch, unlabelled: Batch, progress: Progress
    ) -> tuple[Tensor, Tensor]:
        """The labelled loss, and what is learned from strong views and dropped features."""
        features = self._features(network, unlabelled)
        rows, sure = self._beliefs(network, unlabelled, features)
        views = [self._view(unlabelled, rows, sure) for _ in range(self.strong_views)]
        seen = torch.cat([labelled.image, *(view[0] for view in views)])
        there = torch.cat([labelled.present, *[unlabelled.present] * self.strong_views])
        logits: tuple[Tensor, ...] = network(seen, there)
        strongly = logits[0][len(labelled.image) :].chunk(self.strong_views)
        second = torch.stack(
            [
                cross_entropy(mine, its, (trust >= self.confidence).float(), self.labels)
                for mine, (_, its, trust) in zip(strongly, views, strict=True)
            ]
        ).mean()
        if features:
            dropped = network.decode([drop_channels(level, self.feature_dropout) for level in features])[0]  # type: ignore[operator]
            third = cross_entropy(dropped, rows, (sure >= self.confidence).float(), self.labels)
            second = (second + third) / 2
        return self.labelled_loss(logits, labelled), second

    def _features(self, network: nn.Module, batch: Batch) -> list[Tensor]:
        """Of the weak view, with a gradient; none where none is dropped."""
        if not self.feature_dropout:
            return []
        return list(network.encoding()(batch.image, batch.present))  # type: ignore[operator]

    @torch.no_grad()
    def _beliefs(self, network: nn.Module, batch: Batch, features: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Of the weak view, the believed rows and how sure they are."""
        if self.believes:
            weak = self.taught(batch.image, batch.present)
        elif features:
            weak = network.decode(features)[0]  # type: ignore[operator]
        else:
            weak = network(batch.image, batch.present)[0]
        return hardened(probabilities(weak, self.labels), self.labels)

    def _view(self, batch: Batch, rows: Tensor, sure: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """A strong view of every patch, and what is believed of it."""
        image = strong(batch.image, batch.present, self.strength)
        size = image.shape[2:]
        inside = boxes(len(image), size, (0.02, 0.4), image.device)
        chosen = torch.rand(len(image)) < self.cutmix
        # a patch that shows other modalities has nothing to give
        like = (batch.present == batch.present.roll(1, 0)).all(1).cpu()
        inside &= (chosen & like).to(image.device).reshape(-1, *(1,) * (image.ndim - 1))
        return (
            mixed(inside, image.roll(1, 0), image),
            mixed(inside, rows.roll(1, 0), rows),
            mixed(inside, sure.roll(1, 0), sure),
        )


def drop_channels(features: Tensor, probability: float) -> Tensor:
    """``(B, C, *S)`` with whole channels at 0, each with this probability, and the others larger for it."""
    drop = functional.dropout2d if features.ndim == 4 else functional.dropout3d
    return drop(features, probability)
