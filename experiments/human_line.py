"""Draws each case's Dice per network, with the mean Dice of a second observer as the human line.

    python experiments/human_line.py runs/vessels-chase evaluation/cases.csv dice.svg

The second file is what `medseg evaluate predictions=FOLDER` writes of the second observer's masks.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path
from statistics import mean

import matplotlib
import yaml
from tables import values, variant

from medseg.evaluation.cases import read_cases


def main(study: Path, observer: Path, target: Path) -> None:
    """One box per network, a point per case, a line for the observer."""
    matplotlib.use("svg")
    from matplotlib import pyplot

    groups: dict[str, list[Path]] = defaultdict(list)
    for run in sorted(study.iterdir()):
        config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
        groups[variant(config, ["network"])[0]].append(run)
    found = {
        name: sorted(values(runs, "cases.csv", "validation", "dice")[0].values())
        for name, runs in groups.items()
    }
    names = sorted(found, key=lambda name: -mean(found[name]))
    human = mean(row.value for row in read_cases(observer) if row.metric == "dice")
    matplotlib.rcParams["svg.hashsalt"] = study.name
    figure, axes = pyplot.subplots(figsize=(6.4, 3.6), layout="constrained")
    axes.boxplot(
        [found[name] for name in names],
        tick_labels=[name.replace(" ", "\n") for name in names],
        showfliers=False,
    )
    for place, name in enumerate(names, start=1):
        shifts = [place + 0.08 * ((k % 5) - 2) / 2 for k in range(len(found[name]))]
        axes.scatter(shifts, found[name], s=10, color="tab:blue", alpha=0.6, zorder=3)
    axes.axhline(human, color="tab:red", linewidth=1.2)
    axes.annotate(
        f"second observer {human:.3f}", (0.99, human), xycoords=("axes fraction", "data"),
        ha="right", va="bottom", color="tab:red",
    )  # fmt: skip
    axes.set_ylabel("Dice against the first observer")
    axes.set_ylim(0, 1)
    figure.savefig(target, metadata={"Date": None})


if __name__ == "__main__":
    main(*(Path(word) for word in sys.argv[1:4]))
