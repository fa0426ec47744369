"""Chooses post-processing, thresholds and a temperature on cases that the model never saw.

A step is kept where it raises the mean Dice over patients by more than noise, and takes nothing from any
class
or region (nnU-Net's rule, Isensee 2021, with the noise added). Steps are tried in a fixed order, each on
top of those already kept, per class or region.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.contracts import Labels
from medseg.inference.finish import Finish, Spec
from medseg.training.temperature import Doubts
from medseg.training.tuning_cases import Scorer, TuningCase, median_volumes
from medseg.training.tuning_settings import TuningSettings

ROOM = "medseg.postprocess"
THRESHOLD = f"{ROOM}.threshold.Threshold"
THRESHOLDS = (0.2, 0.3, 0.4, 0.6, 0.7, 0.8)
SHARES = (0.01, 0.05, 0.2)
"""Of a class's median volume: sizes below which objects may be removed."""
FEWEST = 3
"""Patients: fewer show no noise."""
_NOTHING = 1e-9


@dataclass(frozen=True)
class Gain:
    """A step that was kept.

    Attributes:
        step: its spec.
        names: the classes or regions that it is for.
        gain: mean over patients of what it adds to their mean Dice.
        standard_error: of this mean.
        patients: how many.
    """

    step: Spec
    names: tuple[str, ...]
    gain: float
    standard_error: float
    patients: int


@dataclass(frozen=True)
class Choice:
    """What was chosen.

    Attributes:
        finish: the temperature and the steps.
        gains: the steps that were kept, in the order in which they were tried.
        likelihood: negative log-likelihood per voxel, in nats, before and after the temperature.
        dice: name -> mean Dice over patients before and after, on the very cases that chose; so it flatters.
        patients: how many chose.
    """

    finish: Finish
    gains: tuple[Gain, ...] = ()
    likelihood: tuple[float, float] = (0.0, 0.0)
    dice: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    patients: int = 0

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {**self.finish.decides} | {
            "gains": [asdict(gain) for gain in self.gains],
            "likelihood": list(self.likelihood),
            "dice": {name: list(pair) for name, pair in self.dice.items()},
            "patients": self.patients,
        }


class Chooser:
    """Chooses on any subset of some cases; what was scored for one is known for the next.

    Args:
        labels: of the model.
        settings: what to try, and how much is more than noise.
    """

    def __init__(self, labels: Labels, settings: TuningSettings) -> None:
        self.labels, self.settings = labels, settings
        self._scorer, self._doubts = Scorer(labels), Doubts(labels)

    def choose(self, cases: Sequence[TuningCase]) -> Choice:
        """The best finish for the cases, each patient counting alike."""
        finish, likelihood = Finish(), (0.0, 0.0)
        if self.settings.temperature:
            temperature, before, after = self._doubts.fit(cases)
            finish, likelihood = Finish(temperature=temperature), (before, after)
        gains: list[Gain] = []
        if len({case.patient for case in cases}) >= FEWEST:
            for rivals in self._rounds(cases):
                best = self._best(cases, finish, rivals)
                if best is not None:
                    finish, gain = best
                    gains.append(gain)
        means = self.per_patient(cases, [Finish(), finish]).mean(axis=1)
        dice = {name: (float(a), float(b)) for name, a, b in zip(self.labels.names, *means, strict=True)}
        patients = len({case.patient for case in cases})
        return Choice(finish, tuple(gains), likelihood, dice, patients)

    def _rounds(self, cases: Sequence[TuningCase]) -> Iterator[list[tuple[Spec, tuple[str, ...]]]]:
        """Steps that exclude each other, one list after the other."""
        names, steps = self.labels.names, self.settings.steps
        if "threshold" in steps:
            for name in names:
                rivals = [{"_target_": THRESHOLD, "per_name": {name: t}} for t in THRESHOLDS]
                yield [(spec, (name,)) for spec in rivals]
        if "dense_crf" in steps:
            crf = {"_target_": f"{ROOM}.dense_crf.DenseCRF"}
            weak = {**crf, "appearance_weight": 1.0, "smoothness_weight": 0.5}
            yield [(crf, names), (weak, names)]
        if len(names) > 1:
            whole = {"_target_": f"{ROOM}.largest_component.LargestComponent", "together": True}
            yield [(whole, names)] if "largest_component" in steps else []
        volumes = median_volumes(cases, self.labels) if "minimum_size" in steps else {}
        for name in names:
            yield [(spec, (name,)) for spec in self._objects(name, volumes.get(name, 0.0))]
        if "fill_holes" in steps:
            for name in names:
                yield [({"_target_": f"{ROOM}.fill_holes.FillHoles", "names": [name]}, (name,))]

    def _objects(self, name: str, volume: float) -> Iterator[Spec]:
        if "largest_component" in self.settings.steps:
            yield {"_target_": f"{ROOM}.largest_component.LargestComponent", "names": [name]}
        for share in SHARES if volume else ():
            size = float(f"{share * volume:.3g}")
            yield {"_target_": f"{ROOM}.minimum_size.MinimumSize", "names": [name], "mm3": size}

    def _best(
        self, cases: Sequence[TuningCase], finish: Finish, rivals: Sequence[tuple[Spec, tuple[str, ...]]]
    ) -> tuple[Finish, Gain] | None:
        """The rival that adds most, of those that add more than noise and take nothing."""
        if not rivals:
            return None
        longer = [joined(finish, spec) for spec, _ in rivals]
        table = self.per_patient(cases, [finish, *longer])
        found: list[tuple[Finish, Gain]] = []
        for (spec, names), after, scores in zip(rivals, longer, table[1:], strict=True):
            change = scores - table[0]
            mine = change[:, [self.labels.names.index(name) for name in names]].mean(axis=1)
            gain, error = float(mine.mean()), standard_error(mine)
            worth = gain >= self.settings.least and gain > self.settings.noise * error
            if worth and (change.mean(axis=0) >= -_NOTHING).all():
                found.append((after, Gain(spec, names, gain, error, len(mine))))
        return max(found, key=lambda pair: pair[1].gain, default=None)

    def per_patient(self, cases: Sequence[TuningCase], finishes: Sequence[Finish]) -> NDArray[np.float64]:
        """``(finishes, patients, names)``: the mean over each patient's cases."""
        table = self._scorer.table(cases, finishes)
        rows: dict[str, list[int]] = {}
        for number, case in enumerate(cases):
            rows.setdefault(case.patient, []).append(number)
        return np.stack([table[:, chosen].mean(axis=1) for chosen in rows.values()], axis=1)


def standard_error(values: NDArray[np.float64]) -> float:
    """Of the mean; infinite for a single value."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("inf")


def joined(finish: Finish, step: Spec) -> Finish:
    """The finish with one step more; thresholds of several names are one step."""
    kept = list(finish.postprocess)
    if step["_target_"] == THRESHOLD and kept and kept[0]["_target_"] == THRESHOLD:
        both = {**kept[0]["per_name"], **step["per_name"]}
        return replace(finish, postprocess=({"_target_": THRESHOLD, "per_name": both}, *kept[1:]))
    return replace(finish, postprocess=(*kept, step))
