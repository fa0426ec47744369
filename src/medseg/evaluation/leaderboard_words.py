"""What a comparison says in words and in short numbers."""

from __future__ import annotations

from medseg.evaluation.bootstrap import Interval
from medseg.evaluation.comparison import Comparison, Difference, Standings
from medseg.evaluation.methods import Costs
from medseg.evaluation.metrics import METRICS
from medseg.evaluation.table import number

ONE_SEED = "seeds unknown"


def signed(value: float | None, unit: str) -> str:
    """A difference with its sign."""
    if value is None:
        return "–"
    told = number(abs(value), unit)
    if not told.strip("0."):
        return told
    return ("+" if value > 0 else "−") + told


def signed_span(interval: Interval | None, unit: str) -> str:
    """An interval of a difference: ``−0.271 to +0.034``."""
    return "–" if interval is None else " to ".join(signed(bound, unit) for bound in interval)


def chance(p: float) -> str:
    """A p-value as papers write it."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def share(value: float) -> str:
    """Percent without digits, never rounded to none or all."""
    percent = 100 * value
    if 0 < percent < 1:
        return "< 1 %"
    return "> 99 %" if 99 < percent < 100 else f"{percent:.0f} %"


def verdict(difference: Difference) -> str:
    """The verdict, with what it does not hold for."""
    if difference.verdict == "not distinguishable":
        return difference.verdict
    return difference.verdict + (", of these trainings" if difference.p_seeds is None else "")


def sentence(difference: Difference, confidence: float) -> str:
    """One comparison in a sentence."""
    metric = METRICS[difference.metric]
    unit = "" if metric.unit == "1" else f" {metric.unit}"
    numbers = f"{metric.title} {signed(difference.mean, metric.unit)}{unit}"
    numbers += f", {confidence:.0%} interval {signed_span(difference.interval, metric.unit)}"
    if difference.interval_seeds:
        numbers += f", with the seeds {signed_span(difference.interval_seeds, metric.unit)}"
    numbers += f", p {chance(difference.p_holm)}"
    return f"{difference.method} against {difference.reference}: {verdict(difference)} ({numbers})"


def seeds_told(standing: Standings, unit: str) -> str:
    """The mean of each seed and their spread."""
    if not standing.seeds:
        return "–"
    told = ", ".join(number(mean, unit) for mean in standing.seeds.values())
    return f"{told} (±{number(standing.noise.sd, unit)})" if standing.noise else told


def seeds_against(difference: Difference, comparison: Comparison) -> str:
    """How the difference compares with what other seeds would change."""
    places = comparison.standings[difference.metric]
    noises = [places[name].noise for name in (difference.method, difference.reference)]
    if difference.p_seeds is None or any(noise is None for noise in noises):
        return ONE_SEED
    error = sum(noise.variance for noise in noises if noise) ** 0.5
    if error <= 1e-12:
        return "seeds agree"
    return f"{abs(difference.mean) / error:.1f} × their error"


def costs_told(costs: Costs) -> list[str]:
    """Minutes, GPU-hours, memory and parameters; dashes where the runs do not say."""
    parameters = "–" if costs.parameters is None else f"{costs.parameters / 1e6:.2f} M"
    cells = [
        "–" if costs.train_minutes is None else f"{costs.train_minutes:.3g}",
        "–" if costs.gpu_hours is None else f"{costs.gpu_hours:.3g}",
        "–" if costs.peak_memory_gb is None else f"{costs.peak_memory_gb:.3g}",
    ]
    return [*cells, parameters]
