"""Methods held against one another: paired differences, and whether they are more than chance."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from medseg.evaluation.bootstrap import Interval, interval_of_mean, percentile_interval, resampled_means
from medseg.evaluation.comparison import Comparison, Difference, Rules, Standings, Verdict
from medseg.evaluation.methods import Cell, Method, Scores, grouped, mean_of_labels, scores_of, seed_means
from medseg.evaluation.metrics import METRICS
from medseg.evaluation.ranking import ranking
from medseg.evaluation.statistics import holm, seed_test, signed_rank, standardised_difference


def compare(
    methods: Sequence[Method],
    metrics: Sequence[str],
    rules: Rules | None = None,
    reference_of: Callable[[Method], Method | None] | None = None,
) -> Comparison:
    """Compares methods on the cases that all of them scored.

    Args:
        methods: two or more, or one to have its own standing.
        metrics: names; the first decides the order.
        rules: of the verdicts.
        reference_of: the method that another is held against, ``None`` for a reference itself.
    """
    rules = rules or Rules()
    common = set.intersection(*(method.cases for method in methods))
    standings: dict[str, dict[str, Standings]] = {}
    against: dict[str, tuple[Difference, ...]] = {}
    pairs: dict[str, tuple[Difference, ...]] = {}
    for metric in metrics:
        scores = {method.name: scores_of(method, metric, common) for method in methods}
        standings[metric] = _standings(methods, scores, metric, common, rules)
        order = _ordered([method.name for method in methods], standings[metric], metric)
        ordered = sorted(methods, key=lambda method: order.index(method.name))
        chosen = [(m.name, r.name) for m in ordered if reference_of and (r := reference_of(m))]
        against[metric] = _family(chosen, scores, metric, rules)
        pairs[metric] = _family(list(itertools.combinations(order, 2)), scores, metric, rules)
    order = _ordered([method.name for method in methods], standings[metrics[0]], metrics[0])
    every = set[str]().union(*(method.cases for method in methods))
    first = next(iter(methods))
    patients = {row.patient for t in first.trainings for row in t.rows if row.case in common}
    return Comparison(
        methods=tuple(sorted(methods, key=lambda method: order.index(method.name))),
        metrics=tuple(metrics),
        standings=standings,
        against=against,
        pairs=pairs,
        cases=len(common),
        patients=len(patients),
        left_out=len(every - common),
        rules=rules,
    )


def _ordered(names: Sequence[str], found: Mapping[str, Standings], metric: str) -> list[str]:
    sign = -1.0 if METRICS[metric].better == "higher" else 1.0
    means = {name: found[name].mean for name in names}
    return sorted(names, key=lambda name: math.inf if (mean := means[name]) is None else sign * mean)


def _standings(
    methods: Sequence[Method], scores: Mapping[str, Scores], metric: str, cases: set[str], rules: Rules
) -> dict[str, Standings]:
    ranks = ranking(scores, METRICS[metric].better == "higher", rules.resamples, rules.confidence, rules.seed)
    found = {}
    for method in methods:
        own = scores[method.name]
        mean = mean_of_labels(own.values.items(), own.labels)
        found[method.name] = Standings(
            mean=None if math.isnan(mean) else mean,
            interval=interval_of_mean(own.groups(), rules.resamples, rules.confidence, rules.seed),
            labels=_by_label(own.groups(), rules),
            n=len(own.values),
            n_nan=own.n_nan,
            n_missed=own.n_missed,
            seeds=seed_means(method, metric, cases),
            noise=own.noise,
            rank=ranks.get(method.name),
        )
    return found


def _by_label(
    groups: Mapping[str, Sequence[tuple[str, float]]], rules: Rules
) -> dict[str, tuple[float, Interval | None]]:
    return {
        label: (
            math.fsum(value for _, value in group) / len(group),
            interval_of_mean({label: group}, rules.resamples, rules.confidence, rules.seed),
        )
        for label, group in groups.items()
    }


def _family(
    pairs: Sequence[tuple[str, str]], scores: Mapping[str, Scores], metric: str, rules: Rules
) -> tuple[Difference, ...]:
    """All comparisons of one table, adjusted for their number."""
    found = [_difference(method, reference, scores, metric, rules) for method, reference in pairs]
    told = [difference for difference in found if difference is not None]
    adjusted = holm([difference.p for difference in told])
    judged = [replace(d, p_holm=p) for d, p in zip(told, adjusted, strict=True)]
    return tuple(replace(d, verdict=verdict_of(d, rules)) for d in judged)


def verdict_of(difference: Difference, rules: Rules) -> Verdict:
    """The one rule: both tests reject after Holm, and both intervals leave zero out."""
    intervals = [difference.interval, difference.interval_seeds]
    apart = difference.interval is not None and all(i is None or i[0] > 0 or i[1] < 0 for i in intervals)
    if not apart or difference.p_holm >= rules.alpha:
        return "not distinguishable"
    higher = METRICS[difference.metric].better == "higher"
    return "better" if (difference.mean > 0) == higher else "worse"


def _difference(
    method: str, reference: str, scores: Mapping[str, Scores], metric: str, rules: Rules
) -> Difference | None:
    ours, theirs = scores[method], scores[reference]
    both = ours.values.keys() & theirs.values.keys()
    if not both:
        return None
    apart = {cell: ours.values[cell] - theirs.values[cell] for cell in ours.values if cell in both}
    groups = grouped(apart, ours.patients, ours.labels)
    per_patient = _per_patient(apart, ours)
    wilcoxon = signed_rank(per_patient)
    mean = mean_of_labels(apart.items(), ours.labels)
    means = resampled_means(groups, rules.resamples, rules.seed)
    seeds, noises = None, [noise for noise in (ours.noise, theirs.noise) if noise is not None]
    if means is not None and len(noises) == 2:
        seeds = seed_test(mean, float(np.nanvar(means)), len(per_patient), noises, rules.confidence)
    return Difference(
        method=method,
        reference=reference,
        metric=metric,
        mean=mean,
        interval=None if means is None else percentile_interval(means, rules.confidence),
        labels=_by_label(groups, rules),
        patients=len(per_patient),
        cells=len(both),
        one_sided=len(ours.values.keys() ^ theirs.values.keys()),
        p_patients=wilcoxon.p,
        p_seeds=seeds.p if seeds else None,
        interval_seeds=seeds.interval if seeds else None,
        rank_biserial=wilcoxon.rank_biserial,
        standardised=standardised_difference(per_patient),
    )


def _per_patient(apart: Mapping[Cell, float], scores: Scores) -> list[float]:
    """One value per patient: patients, not cases or labels, are independent."""
    found: dict[str, dict[Cell, float]] = defaultdict(dict)
    for cell, value in apart.items():
        found[scores.patients[cell[0]]][cell] = value
    return [mean_of_labels(found[patient].items(), scores.labels) for patient in sorted(found)]
