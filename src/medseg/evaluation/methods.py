"""Methods that are compared: their trainings, and what those scored."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from medseg.evaluation.cases import Row
from medseg.evaluation.statistics import Noise, training_noise

Cell = tuple[str, str]
"""A case and a label."""


@dataclass(frozen=True)
class Costs:
    """What a method asks for; ``None`` where its runs do not say.

    Attributes:
        train_minutes: of one training, on average.
        gpu_hours: of one training, on average.
        peak_memory_gb: the most that a training took.
        parameters: of the network.
    """

    train_minutes: float | None = None
    gpu_hours: float | None = None
    peak_memory_gb: float | None = None
    parameters: int | None = None


@dataclass(frozen=True)
class Training:
    """One run: its folder's name, its seed and fold, and the rows of the part that is compared."""

    name: str
    seed: int
    fold: int
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Method:
    """Trainings that differ in seed and fold alone.

    Attributes:
        name: what tells it from the others.
        settings: the same as ``(setting, value)``.
        trainings: at least one.
        costs: what it asks for.
    """

    name: str
    settings: tuple[tuple[str, str], ...]
    trainings: tuple[Training, ...]
    costs: Costs = field(default_factory=Costs)

    @property
    def seeds(self) -> tuple[int, ...]:
        """All seeds, each once."""
        return tuple(sorted({training.seed for training in self.trainings}))

    @property
    def cases(self) -> set[str]:
        """The cases that any training scored."""
        return {row.case for training in self.trainings for row in training.rows}


@dataclass(frozen=True)
class Scores:
    """One metric of one method.

    Attributes:
        values: case and label -> mean over the trainings that give a number.
        patients: case -> patient.
        trainings: per training the same, in the order of the method's.
        labels: in the order of the rows.
        n_nan: cells that no training gives a number for.
        n_missed: cells that a training missed (exactly one mask empty).
    """

    values: Mapping[Cell, float]
    patients: Mapping[str, str]
    trainings: tuple[Mapping[Cell, float], ...]
    labels: tuple[str, ...]
    n_nan: int
    n_missed: int

    def groups(self, cells: Collection[Cell] | None = None) -> dict[str, list[tuple[str, float]]]:
        """Label -> ``(patient, value)``, as the bootstrap takes it; of ``cells`` alone where given."""
        return grouped(self.values, self.patients, self.labels, cells)

    @property
    def blocks(self) -> list[tuple[float, list[float]]] | None:
        """Trainings that scored the same cases: their share of the patients, and the mean of each.

        ``None`` where trainings share some of their cases and not all.
        """
        sets: dict[frozenset[str], list[float]] = defaultdict(list)
        for cells in self.trainings:
            sets[frozenset(case for case, _ in cells)].append(mean_of_labels(cells.items(), self.labels))
        patients = [{self.patients[case] for case in cases} for cases in sets]
        total = len(set[str]().union(*patients))
        if sum(map(len, patients)) > total or not total:
            return None
        return [(len(who) / total, means) for who, means in zip(patients, sets.values(), strict=True)]

    @property
    def noise(self) -> Noise | None:
        """How far the mean moves with other seeds; ``None`` where that cannot be known."""
        blocks = self.blocks
        return training_noise(blocks) if blocks else None


def grouped(
    values: Mapping[Cell, float],
    patients: Mapping[str, str],
    labels: Sequence[str],
    cells: Collection[Cell] | None = None,
) -> dict[str, list[tuple[str, float]]]:
    """Label -> ``(patient, value)`` in the order of the labels; a label without any value is left out."""
    found: dict[str, list[tuple[str, float]]] = {label: [] for label in labels}
    for (case, label), value in values.items():
        if cells is None or (case, label) in cells:
            found[label].append((patients[case], value))
    return {label: group for label, group in found.items() if group}


def mean_of_labels(cells: Iterable[tuple[Cell, float]], labels: Sequence[str]) -> float:
    """The unweighted mean over the labels of the mean over cases; NaN where there is nothing."""
    found: dict[str, list[float]] = {label: [] for label in labels}
    for (_, label), value in cells:
        found[label].append(value)
    means = [math.fsum(group) / len(group) for group in found.values() if group]
    return math.fsum(means) / len(means) if means else math.nan


def scores_of(method: Method, metric: str, cases: Collection[str]) -> Scores:
    """The values of one metric on ``cases``, averaged over the trainings."""
    every: dict[Cell, list[float]] = {}
    missed: set[Cell] = set()
    patients: dict[str, str] = {}
    trainings = []
    for training in method.trainings:
        own: dict[Cell, float] = {}
        for row in training.rows:
            if row.metric != metric or row.case not in cases:
                continue
            cell, patients[row.case] = (row.case, row.label), row.patient
            every.setdefault(cell, [])
            if row.status != "nan":
                every[cell].append(row.value)
                own[cell] = row.value
            if row.status == "missed":
                missed.add(cell)
        if own:
            trainings.append(own)
    values = {cell: math.fsum(found) / len(found) for cell, found in every.items() if found}
    labels = tuple(dict.fromkeys(label for _, label in every))
    return Scores(values, patients, tuple(trainings), labels, len(every) - len(values), len(missed))


def seed_means(method: Method, metric: str, cases: Collection[str]) -> dict[int, float]:
    """Seed -> mean of its trainings on all ``cases``; seeds that did not score all of them are left out."""
    found = {}
    for seed in method.seeds:
        trainings = tuple(training for training in method.trainings if training.seed == seed)
        one = Method(method.name, method.settings, trainings)
        if one.cases >= set(cases):
            scores = scores_of(one, metric, cases)
            found[seed] = mean_of_labels(scores.values.items(), scores.labels)
    return found
