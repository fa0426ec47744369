"""Tables of a study from its run folders: means over patients, paired differences, missing modalities.

    python experiments/tables.py runs/fusion-lgg --vary fusion --against fusion=early

Runs that differ in seed and fold alone are one row. A patient's value is the mean over the runs that scored
it; differences are between the values of the same patient and case. Intervals are 95 %, by drawing whole
patients again 10,000 times (medseg.evaluation.bootstrap).
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import yaml

from medseg.evaluation.bootstrap import interval_of_mean
from medseg.evaluation.cases import Row, read_cases

Variant = tuple[str, ...]
Values = dict[tuple[str, str, str], float]
"""(case, patient, label) -> the mean over runs."""
RESAMPLES = 10_000


def main() -> None:
    """Prints the tables as Markdown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", type=Path, help="the folder of the run folders")
    parser.add_argument("--vary", nargs="+", required=True, help="settings that make a row")
    parser.add_argument(
        "--against", default=None, help="SETTING=VALUE: rows are compared with the one that has it"
    )
    parser.add_argument("--part", default="validation")
    asked = parser.parse_args()
    runs = [path for path in sorted(asked.study.iterdir()) if (path / "cases.csv").exists()]
    groups: dict[Variant, list[Path]] = defaultdict(list)
    for run in runs:
        groups[variant(yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8")), asked.vary)].append(
            run
        )
    print(f"{len(runs)} runs\n")
    print_scores(groups, asked.vary, asked.part, asked.against)
    if any((run / "missing" / f"{asked.part}.csv").exists() for run in runs):
        print_missing(groups, asked.vary, asked.part)


def variant(config: Mapping[str, Any], settings: Sequence[str]) -> Variant:
    """The values of the settings; of a part its name."""
    found = []
    for setting in settings:
        value: Any = config
        for key in setting.split("."):
            value = value[key]
        found.append(named(value) if isinstance(value, Mapping) else str(value))
    return tuple(found)


def named(spec: Mapping[str, Any]) -> str:
    """A part's class, with the encoder where it has one."""
    name = str(spec["_target_"]).rpartition(".")[2]
    return f"{name} {spec['encoder_name']}" if "encoder_name" in spec else name


def values(runs: Sequence[Path], table: str, part: str, metric: str) -> tuple[Values, list[float]]:
    """Each case's mean over the runs that scored it, and the mean of each seed's runs."""
    every: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    seeds: dict[int, list[float]] = defaultdict(list)
    for run in runs:
        seed = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))["seed"]
        file = run / table
        for row in read_cases(file) if file.exists() else []:
            if row.part == part and row.metric == metric and row.status != "nan":
                every[(row.case, row.patient, row.label)].append(row.value)
                seeds[seed].append(row.value)
    return {key: mean(found) for key, found in every.items()}, [mean(found) for found in seeds.values()]


def interval(found: Values, digits: int = 3) -> str:
    """Mean and interval."""
    groups: dict[str, list[tuple[str, float]]] = defaultdict(list)
    for (_, patient, label), value in found.items():
        groups[label].append((patient, value))
    between = interval_of_mean(groups, RESAMPLES, 0.95, seed=0)
    average = mean(mean(value for _, value in group) for group in groups.values())
    told = [f"{value:.{digits}f}" for value in (average, *(between or ()))]
    return told[0] if between is None else f"{told[0]} ({told[1]} to {told[2]})"


def print_scores(
    groups: Mapping[Variant, list[Path]], vary: Sequence[str], part: str, against: str | None
) -> None:
    """One row per variant: Dice, HD95, the seeds' spread, and the paired difference of Dice."""
    metrics = ("dice", "hd95")
    found = {
        key: [values(runs, "cases.csv", part, metric) for metric in metrics] for key, runs in groups.items()
    }
    spread = "seeds" if all(len(each[0][1]) > 1 for each in found.values()) else "seed"
    compared = [f"Dice against {against}"] if against else []
    print(f"| {' | '.join([*vary, 'runs', 'cases', 'Dice', spread, 'HD95 mm', *compared])} |")
    print("|" + "---|" * (len(vary) + 5 + len(compared)))
    for key, ((dice, seeds), (distance, _)) in sorted(found.items()):
        other = reference(found, key, vary, against)
        row = ["-"] if against else []
        if other is not None and other != key:
            theirs = found[other][0][0]
            row = [interval({case: dice[case] - theirs[case] for case in dice.keys() & theirs.keys()})]
        told = " ".join(f"{value:.3f}" for value in seeds)
        told += f" (sd {stdev(seeds):.3f})" if len(seeds) > 1 else ""
        cells = [
            *key,
            str(len(groups[key])),
            str(len(dice)),
            interval(dice),
            told,
            interval(distance, 1),
            *row,
        ]
        print(f"| {' | '.join(cells)} |")


def reference(
    found: Mapping[Variant, Any], key: Variant, vary: Sequence[str], against: str | None
) -> Variant | None:
    """The variant that differs from ``key`` in the setting of ``against`` alone."""
    if against is None:
        return None
    setting, _, value = against.partition("=")
    place = list(vary).index(setting)
    other = (
        *key[:place],
        next((k[place] for k in found if k[place].lower().startswith(value.lower())), ""),
        *key[place + 1 :],
    )
    return other if other in found else None


def print_missing(groups: Mapping[Variant, list[Path]], vary: Sequence[str], part: str) -> None:
    """Dice by the modalities that are there: one column per variant."""
    rows: dict[Variant, list[Row]] = {
        key: [row for run in runs if (run / "missing" / f"{part}.csv").exists()
              for row in read_cases(run / "missing" / f"{part}.csv")]
        for key, runs in sorted(groups.items())
    }  # fmt: skip
    subsets = list(dict.fromkeys(row.part for each in rows.values() for row in each))
    print(f"\n| modalities | {' | '.join(', '.join(key) for key in rows)} |")
    print("|" + "---|" * (len(rows) + 1))
    for subset in subsets:
        cells = []
        for each in rows.values():
            scores = [
                row.value
                for row in each
                if row.part == subset and row.metric == "dice" and row.status != "nan"
            ]
            cells.append(f"{mean(scores):.3f}" if scores else "-")
        print(f"| {subset} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
