"""How often `medseg compare` tells two methods apart: when they are the same, and when they are not.

    python benchmarks/verdicts.py                 the table of docs/compare.md (about 10 minutes on one core)
    python benchmarks/verdicts.py --pairs 50      the same, coarser

A simulated Dice is bounded and skewed. On the logit scale it is a patient's difficulty (some are very hard),
what a method makes of that patient, what a training (seed and fold) adds to all its patients, and noise. The
scores go through `medseg.evaluation.compare.compare`, the same code as the command's.
"""

from __future__ import annotations

import argparse
import itertools
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medseg.evaluation.cases import Row
from medseg.evaluation.compare import compare
from medseg.evaluation.comparison import Comparison, Rules
from medseg.evaluation.methods import Method, Training
from medseg.files import write_text

RESULTS = Path(__file__).parent / "results" / "verdicts.csv"


@dataclass(frozen=True)
class World:
    """What a simulated study is like.

    Attributes:
        patients: each with one case.
        folds: every patient is scored by the trainings of one.
        seeds: trainings per method and fold.
        training_sd: of what one training adds to all of its patients, in logits.
        patient_sd: of what a method makes of a patient, in logits.
        noise_sd: of what is left, in logits.
        shift: of the second method over the first, in logits; 0 for a null pair.
        methods: how many; all but the first are shifted.
    """

    patients: int = 30
    folds: int = 2
    seeds: int = 2
    training_sd: float = 0.1
    patient_sd: float = 0.25
    noise_sd: float = 0.25
    shift: float = 0.0
    methods: int = 2


def study(world: World, number: int) -> list[Method]:
    """The methods of one simulated study; the same number gives the same."""
    rng = np.random.Generator(np.random.Philox([number, 7]))
    # Most patients lie near Dice 0.83, one in twelve far below: the left tail of real segmentations.
    ease = rng.normal(1.6, 0.9, world.patients)
    ease -= (rng.random(world.patients) < 0.08) * rng.exponential(2.5, world.patients)
    return [
        _method(world, f"method {place}", ease + world.shift * (place > 0), rng)
        for place in range(world.methods)
    ]


def _method(world: World, name: str, ease: NDArray[np.float64], rng: np.random.Generator) -> Method:
    own = ease + rng.normal(0, world.patient_sd, world.patients)
    trainings = []
    for seed, fold in itertools.product(range(world.seeds), range(world.folds)):
        shift = rng.normal(0, world.training_sd)
        patients = range(fold, world.patients, world.folds)
        logits = own[list(patients)] + shift + rng.normal(0, world.noise_sd, len(patients))
        dice = 1 / (1 + np.exp(-logits))
        rows = tuple(_row(f"p{p:03d}", float(v)) for p, v in zip(patients, dice, strict=True))
        trainings.append(Training(f"{name} {seed} {fold}", seed, fold, rows))
    return Method(name, (("method", name),), tuple(trainings))


def _row(case: str, dice: float) -> Row:
    return Row(case, case, "", "validation", "organ", "dice", dice, "1", "ok")


def judged(world: World, number: int, resamples: int = 1000) -> Comparison:
    """One study, compared."""
    return compare(study(world, number), ["dice"], Rules(resamples=resamples))


def told_apart(world: World, pairs: int, resamples: int = 1000) -> tuple[float, float, float]:
    """Over many studies, the share in which any pair got a verdict; Wilcoxon alone; the mean difference."""
    verdicts, wilcoxon, differences = 0, 0, 0.0
    for number in range(pairs):
        found = judged(world, number, resamples).pairs["dice"]
        verdicts += any(difference.verdict != "not distinguishable" for difference in found)
        wilcoxon += any(difference.p_patients < 0.05 for difference in found)
        differences += abs(found[0].mean)
    return verdicts / pairs, wilcoxon / pairs, differences / pairs


def worlds() -> list[tuple[str, World]]:
    """The rows of the table."""
    found = []
    for patients, seeds, training_sd in itertools.product((20, 40), (1, 2, 3), (0.0, 0.1, 0.2)):
        world = World(patients=patients, seeds=seeds, training_sd=training_sd)
        found.append(("null", world))
    found += [
        ("null of 5 methods", World(seeds=2, methods=5)),
        ("null of 5 methods", World(seeds=3, methods=5)),
    ]
    found += [("null of 5 folds", World(folds=5, seeds=2)), ("null of 1 fold", World(folds=1, seeds=3))]
    for shift, patients, seeds in itertools.product((0.15, 0.3, 0.5), (20, 40), (1, 2, 3)):
        found.append(("planted", World(patients=patients, seeds=seeds, shift=shift)))
    return found


def main() -> None:
    """Prints and writes the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=500, help="studies per row")
    parser.add_argument("--output", type=Path, default=RESULTS)
    asked = parser.parse_args()
    lines = ["what,patients,folds,seeds,training_sd,methods,shift,true_difference,verdicts,wilcoxon_alone"]
    for what, world in worlds():
        verdicts, wilcoxon, _ = told_apart(world, asked.pairs)
        true = true_difference(world)
        row = (what, world.patients, world.folds, world.seeds, world.training_sd, world.methods, world.shift)
        lines.append(",".join(map(str, (*row, f"{true:.3f}", f"{verdicts:.3f}", f"{wilcoxon:.3f}"))))
        print(lines[-1], flush=True)
    write_text(asked.output, "\n".join(lines) + "\n")


def true_difference(world: World) -> float:
    """The mean Dice that the shift is worth, over many patients."""
    if not world.shift:
        return 0.0
    large = replace(world, patients=20_000, folds=1, seeds=1, training_sd=0.0)
    means = [
        float(np.mean([row.value for training in method.trainings for row in training.rows]))
        for method in study(large, 0)
    ]
    return means[1] - means[0]


if __name__ == "__main__":
    main()
