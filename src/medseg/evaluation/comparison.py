"""What a comparison of methods found: standings, paired differences, verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from medseg.evaluation.bootstrap import Interval
from medseg.evaluation.methods import Method
from medseg.evaluation.ranking import Standing
from medseg.evaluation.statistics import Noise

Verdict = Literal["better", "worse", "not distinguishable"]


@dataclass(frozen=True)
class Rules:
    """How a verdict is reached.

    Attributes:
        alpha: of a family of comparisons; the intervals cover ``1 - alpha``.
        resamples: of the patients.
        seed: of the resampling.
    """

    alpha: float = 0.05
    resamples: int = 10_000
    seed: int = 0

    @property
    def confidence(self) -> float:
        """The coverage of the intervals."""
        return 1.0 - self.alpha


@dataclass(frozen=True)
class Standings:
    """One metric of one method on the cases that all methods scored.

    Attributes:
        mean: over the labels, of the means over the cases; ``None`` where there is no value.
        interval: of it, over the patients.
        labels: label -> mean and interval.
        n: values that were averaged, one per case and label.
        n_nan: left out, not a number.
        n_missed: among ``n``, missed by at least one training.
        seeds: seed -> its mean, of seeds that scored all of the cases.
        noise: of training again; ``None`` where it cannot be known.
        rank: mean rank and how often it is first; ``None`` where there are no resamples.
    """

    mean: float | None
    interval: Interval | None
    labels: Mapping[str, tuple[float, Interval | None]]
    n: int
    n_nan: int
    n_missed: int
    seeds: Mapping[int, float]
    noise: Noise | None
    rank: Standing | None = None


@dataclass(frozen=True)
class Difference:
    """``method`` minus ``reference`` on one metric, over the cases where both give a number.

    Attributes:
        method: its name.
        reference: what it is compared with.
        metric: its name.
        mean: over the labels, of the means over the cases.
        interval: of it, over the patients of these trainings.
        labels: label -> mean and interval; no verdict is given on them.
        patients: how many.
        cells: values behind the mean, one per case and label.
        one_sided: cases and labels left out because only one of the two gives a number.
        p_patients: Wilcoxon signed-rank test over the patients.
        p_seeds: Student's t over patients and seeds; ``None`` where the noise of training is unknown.
        interval_seeds: of the mean, over patients and seeds; the same.
        p_holm: the larger of the two, adjusted for the family.
        rank_biserial: effect size, from -1 to 1, positive where ``method`` has the larger values.
        standardised: mean over standard deviation of the patients' differences.
        verdict: for ``method``, by `medseg.evaluation.compare.verdict_of`.
    """

    method: str
    reference: str
    metric: str
    mean: float
    interval: Interval | None
    labels: Mapping[str, tuple[float, Interval | None]]
    patients: int
    cells: int
    one_sided: int
    p_patients: float
    p_seeds: float | None
    interval_seeds: Interval | None
    rank_biserial: float
    standardised: float | None
    p_holm: float = 1.0
    verdict: Verdict = "not distinguishable"

    @property
    def p(self) -> float:
        """What the family is adjusted from: both tests must reject."""
        return self.p_patients if self.p_seeds is None else max(self.p_patients, self.p_seeds)


@dataclass(frozen=True)
class Comparison:
    """All of it.

    Attributes:
        methods: best first by the first metric.
        metrics: the first one decides the order.
        standings: metric -> method -> where it stands.
        against: metric -> differences from the reference that was asked for; empty without one.
        pairs: metric -> every pair, the better method first.
        cases: cases that every method scored.
        patients: how many those are of.
        left_out: cases that only some of the methods scored.
        rules: how the verdicts were reached.
    """

    methods: tuple[Method, ...]
    metrics: tuple[str, ...]
    standings: Mapping[str, Mapping[str, Standings]]
    against: Mapping[str, tuple[Difference, ...]]
    pairs: Mapping[str, tuple[Difference, ...]]
    cases: int
    patients: int
    left_out: int
    rules: Rules

    def difference(self, metric: str, method: str, reference: str) -> Difference | None:
        """The pair of two methods, as the family of all pairs has it, turned to be ``method``'s."""
        for pair in self.pairs[metric]:
            if (pair.method, pair.reference) == (method, reference):
                return pair
            if (pair.method, pair.reference) == (reference, method):
                return turned(pair)
        return None

    def winner(self, metric: str) -> str | None:
        """The method that is better than each other one, its seeds' noise held against it; or none."""
        for method in self.methods:
            others = [m.name for m in self.methods if m.name != method.name]
            found = [self.difference(metric, method.name, other) for other in others]
            if found and all(d and d.verdict == "better" and d.p_seeds is not None for d in found):
                return method.name
        return None


def turned(pair: Difference) -> Difference:
    """The same pair seen from the other side."""

    def back(interval: Interval | None) -> Interval | None:
        return None if interval is None else (-interval[1], -interval[0])

    opposite: dict[Verdict, Verdict] = {"better": "worse", "worse": "better"}
    return replace(
        pair,
        method=pair.reference,
        reference=pair.method,
        mean=-pair.mean,
        interval=back(pair.interval),
        interval_seeds=back(pair.interval_seeds),
        labels={label: (-mean, back(interval)) for label, (mean, interval) in pair.labels.items()},
        rank_biserial=-pair.rank_biserial,
        standardised=None if pair.standardised is None else -pair.standardised,
        verdict=opposite.get(pair.verdict, pair.verdict),
    )
