"""Validation on whole volumes, a few times in a training."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import fmean

import lightning as L
import numpy as np
from numpy.typing import NDArray

from medseg.data.cohort import Case, Cohort, read_label, read_modality
from medseg.data.formats import Volume
from medseg.data.labels import encode
from medseg.data.plan import Plan
from medseg.data.store import Store
from medseg.errors import UserError
from medseg.evaluation.cases import Row
from medseg.evaluation.pictures import draw, picture_of
from medseg.evaluation.score import score_case
from medseg.evaluation.settings import EvaluationSettings
from medseg.inference.predictor import Predictor
from medseg.inference.settings import InferenceSettings
from medseg.training.assess import in_order
from medseg.training.group import Group
from medseg.training.parallel import agree_on_buffers
from medseg.training.ranks import Ranks
from medseg.training.sharding import whole

PREFIX = "validation_volume/dice"
Show = Callable[[list[tuple[str, bytes]], int], None]


class VolumeValidation(L.Callback):
    """Predicts validation cases on their original grids, logs the Dice per label, stops what stalls.

    The window overlap is small and nothing is mirrored, so the last evaluation of a run, which does
    both, is usually a little better.

    Args:
        epochs: the epochs (from 0) after which to look.
        cases: which cases; each rank scores its share.
        patience: stop after so many looks without a better mean Dice.
        show: given the pictures ``(case id, PNG)`` of the first cases and the step, on rank zero.
        pictures: how many cases to draw for ``show``.
        group: the ranks; ``None`` for this process alone.
    """

    def __init__(
        self,
        cohort: Cohort,
        store: Store,
        plan: Plan,
        cases: Sequence[Case],
        epochs: Sequence[int],
        inference: InferenceSettings,
        patience: int | None,
        show: Show | None = None,
        pictures: int = 0,
        group: Group | None = None,
    ) -> None:
        self.cohort, self.store, self.plan, self.cases = cohort, store, plan, tuple(cases)
        self.epochs, self.patience = frozenset(epochs), patience
        self.settings = replace(inference, overlap=min(inference.overlap, 0.25), flips=False)
        self.best, self.looks_since_best = -math.inf, 0
        self.show, self.pictures = show, pictures if show is not None else 0
        self.group = group or Group(Ranks())

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """A training that had stalled when it was killed stays stopped."""
        if self._stalled:
            trainer.should_stop = True

    @property
    def _stalled(self) -> bool:
        return self.patience is not None and self.looks_since_best >= self.patience

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Runs after the epochs asked for."""
        if trainer.current_epoch not in self.epochs:
            return
        network = whole(pl_module)
        agree_on_buffers(network, self.group.world)
        was_training = network.training
        settings = replace(self.settings, device=str(pl_module.device))
        predictor = Predictor([network], self.plan, self.cohort.labels, settings)
        rows: list[Row] = []
        drawn: list[tuple[str, bytes]] = []
        for case in self.group.share(self.cases):
            self.group.doing(f"validation after step {trainer.global_step} on case {case.id}")
            reference, codes = self._predict(predictor, case)
            rows += self._score(case, reference, codes)
            if trainer.is_global_zero and len(drawn) < self.pictures:
                drawn.append((case.id, self._draw(case, reference.array, codes)))
        network.train(was_training)
        if self.show is not None and drawn:
            self.show(drawn, trainer.global_step)
        rows = in_order(self.group.gathered(rows), [case.id for case in self.cases])
        for name, value in self._means(rows).items():
            pl_module.log(name, value, rank_zero_only=False)
            if name == PREFIX:
                self._stop_if_stalled(trainer, value)

    def _predict(self, predictor: Predictor, case: Case) -> tuple[Volume, NDArray[np.uint8]]:
        """The reference and the predicted codes, both on the case's own grid."""
        stored = self.store.case(case.id)
        values = predictor.codes(stored.image, stored.present, stored.geometry)
        reference = read_label(case, self.cohort.labels)
        if reference is None:
            raise UserError(case.id, "is a validation case without a label", "make the split anew")
        return reference, encode(values, self.cohort.labels, case.id)

    def _score(self, case: Case, reference: Volume, codes: NDArray[np.uint8]) -> list[Row]:
        spacing = [float(step) for step in np.linalg.norm(reference.affine[:3, :3], axis=0)]
        only_dice = EvaluationSettings(metrics=["dice"])
        return score_case(reference.array, codes, self.cohort.labels, spacing, only_dice, case=case.id)

    def _draw(self, case: Case, reference: NDArray[np.uint8], codes: NDArray[np.uint8]) -> bytes:
        image = read_modality(case, next(iter(case.images)))
        return draw(picture_of(image.array, image.affine, reference, codes))

    def _means(self, rows: Sequence[Row]) -> dict[str, float]:
        """Mean Dice per label over the cases where it is a number, and the mean of those."""
        means = {}
        for label in self.cohort.labels.names:
            values = [row.value for row in rows if row.label == label and not math.isnan(row.value)]
            if values:
                means[f"{PREFIX}/{label}"] = fmean(values)
        return means | ({PREFIX: fmean(means.values())} if means else {})

    def _stop_if_stalled(self, trainer: L.Trainer, dice: float) -> None:
        if dice > self.best:
            self.best, self.looks_since_best = dice, 0
        else:
            self.looks_since_best += 1
        if self._stalled:
            trainer.should_stop = True

    def state_dict(self) -> dict[str, float]:
        """What a resumed training needs to go on counting."""
        return {"best": self.best, "looks_since_best": self.looks_since_best}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        """Takes the counts back."""
        self.best, self.looks_since_best = state_dict["best"], int(state_dict["looks_since_best"])


def look_epochs(epochs: int, looks: int) -> list[int]:
    """``looks`` epochs (from 0) spread evenly over a training, the last among them."""
    return sorted({math.ceil(epochs * (i + 1) / looks) - 1 for i in range(looks)})
