"""Finished runs read back from their folders, and the reasons not to compare them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from medseg.data.plan import Plan
from medseg.data.splits import Split
from medseg.errors import Problems, UserError
from medseg.evaluation.cases import Row, read_cases
from medseg.evaluation.methods import Costs, Training
from medseg.inference.encoder_facts import EncoderFacts
from medseg.inference.manifest import MANIFEST, parse_json, read_patients
from medseg.inference.patients import SeenPatients
from medseg.training.method_names import class_of
from medseg.training.run_folder import RunFolder


@dataclass(frozen=True)
class ScoredRun:
    """A finished run.

    Attributes:
        path: its folder.
        record: ``record.json``.
        config: ``config.yaml``.
        overrides: what it was given on the command line.
        rows: the rows of one part.
        manifest: of its bundle.
    """

    path: Path
    record: Mapping[str, Any]
    config: Mapping[str, Any]
    overrides: tuple[str, ...]
    rows: tuple[Row, ...]
    manifest: Mapping[str, Any]

    @property
    def held_out(self) -> str | None:
        """Who is validated and tested, as a hash; whose labels are kept in training is a method's choice."""
        file = self.path / "split.json"
        if not file.is_file():
            return self.record.get("split_hash")
        return replace(Split.load(file), budget=None).hash

    @property
    def training(self) -> Training:
        """As the comparison takes it."""
        return Training(self.path.name, int(self.record["seed"]), int(self.record["fold"]), self.rows)

    @property
    def costs(self) -> Costs:
        """What the record says it took; minutes of training are in older ones too."""
        found = self.record.get("costs") or {}
        minutes = found.get("train_minutes", self.record.get("minutes"))
        return Costs(minutes, found.get("gpu_hours"), found.get("peak_memory_gb"), found.get("parameters"))


def find_runs(folders: Sequence[Path]) -> list[Path]:
    """Run folders among ``folders``, and those inside of studies; each once.

    Raises:
        UserError: a folder is neither.
    """
    found: list[Path] = []
    for folder in folders:
        if not folder.is_dir():
            raise UserError(
                str(folder), "is not there", "give runs/NAME for a study or runs/NAME/ID for a run"
            )
        inside = [child for child in sorted(folder.iterdir()) if (child / "config.yaml").is_file()]
        runs = [folder] if (folder / "config.yaml").is_file() else inside
        if not runs:
            raise UserError(str(folder), "is no run and holds none", "give runs/NAME or runs/NAME/ID")
        found += runs
    return list({run.resolve(): run for run in found}.values())


def read_runs(paths: Sequence[Path], part: str) -> tuple[list[ScoredRun], list[str]]:
    """The runs that are finished and were scored on ``part``, and a line for each that is left out.

    Raises:
        UserError: none is left, or a file cannot be understood.
    """
    found, left_out = [], []
    for path in paths:
        reason = _unusable(path, part)
        if isinstance(reason, str):
            left_out.append(f"{path}: {reason}")
        else:
            found.append(reason)
    if not found:
        rest = f" (and {len(left_out) - 1} more)" if len(left_out) > 1 else ""
        raise UserError("runs", f"there is none to compare: {left_out[0]}{rest}")
    return found, left_out


def _unusable(path: Path, part: str) -> ScoredRun | str:
    """The run, or why it is left out."""
    folder = RunFolder(path)
    record = folder.record
    if record.get("status") != "finished":
        return f"is not finished ({record.get('status', 'not begun')}); run its `medseg train` command again"
    if not (folder.model / MANIFEST).is_file():
        return "has no model, so whom it was trained on cannot be checked"
    rows = (
        tuple(row for row in read_cases(folder.cases) if row.part == part) if folder.cases.is_file() else ()
    )
    if not rows:
        return f"was not scored on {part}; run `medseg evaluate run={path} part={part}`"
    try:
        config = yaml.safe_load(folder.config.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise UserError(str(folder.config), f"cannot be read ({error})", "restore the file") from None
    overrides = tuple(map(str, record.get("overrides") or ()))
    manifest = parse_json(folder.model / MANIFEST, "restore the bundle")
    return ScoredRun(path, record, _by_objective(config, record), overrides, rows, manifest)


def _by_objective(config: Mapping[str, Any], record: Mapping[str, Any]) -> Mapping[str, Any]:
    """The configuration with the objective of the encoder that the run started from instead of its folder.

    Each seed may have an encoder of its own; they are one method.
    """
    given = (config.get("finetuning") or {}).get("pretrained")
    if given is None:
        return config
    said = [found["objective"] for found in record.get("pretrained") or () if "objective" in found]
    try:
        name = said[0] if said else class_of(EncoderFacts.read(Path(given)).objective)
    except UserError:
        name = str(given)
    return {**config, "finetuning": {**config["finetuning"], "pretrained": name}}


def refuse_unlike(runs: Sequence[ScoredRun], part: str, metrics: Sequence[str]) -> None:
    """Refuses runs whose numbers do not belong in one table.

    Raises:
        Problems: a line per reason: other cohorts, labels, splits, images, patients or definitions, a metric
            that was not measured, a model that saw a patient it is scored on.
    """
    for name, key in _KINDS.items():
        if line := _several(name, [(run, key(run)) for run in runs]):
            raise Problems([line])
    lines = _other_images(runs) + _other_patients(runs)
    for run in runs:
        lines += [*_other_metrics(runs[0], run, part, metrics), *_seen(run)]
    if lines:
        raise Problems(dict.fromkeys(lines))


_KINDS: dict[str, Callable[[ScoredRun], Any]] = {
    "cohort": lambda run: run.record.get("cohort"),
    "set of labels": lambda run: run.manifest.get("labels"),
    "split": lambda run: run.held_out,
}
"""What runs of one table have in common, in the order in which it is asked for."""


def _several(name: str, found: Sequence[tuple[ScoredRun, Any]]) -> str:
    """A line where not all runs have the same: how many have what."""
    values: dict[str, list[ScoredRun]] = {}
    for run, value in found:
        values.setdefault(_short(value), []).append(run)
    if len(values) < 2:
        return ""
    told = "; ".join(f"{value} in {len(runs)}, as {runs[0].path}" for value, runs in values.items())
    return f"runs: their {name} is not the same ({told}); compare runs of one {name}"


def _short(value: Any) -> str:
    if isinstance(value, Mapping) and "names" in value:
        return f"{', '.join(value['names'])} as values {value.get('values')}"
    text = str(value)
    return text[:12] if len(text) == 64 else text


def _other_metrics(first: ScoredRun, run: ScoredRun, part: str, metrics: Sequence[str]) -> list[str]:
    ours, theirs = _definitions(run, part), _definitions(first, part)
    lines = []
    there = {row.metric for row in run.rows}
    for metric in metrics:
        if metric not in there:
            fix = f"run `medseg evaluate run={run.path} part={part}`, or give metrics=[...] without it"
            lines.append(f"{run.path}: {metric} was not measured; {fix}")
        elif ours.get(metric) != theirs.get(metric):
            problem = f"its {metric} is “{ours.get(metric)}”, that of {first.path} “{theirs.get(metric)}”"
            lines.append(f"{run.path}: {problem}; score them with the same evaluation=")
    return lines


def _definitions(run: ScoredRun, part: str) -> dict[str, str]:
    receipts = run.record.get("results", {}).get(part, {}).get("receipts", {})
    return {name: receipt.get("definition", "") for name, receipt in receipts.items()}


def _seen(run: ScoredRun) -> list[str]:
    """Whom training, or the choice of a threshold or of post-processing, has seen."""
    where = str(run.path / "model" / MANIFEST)
    patients = {row.patient for row in run.rows}
    lines = []
    for field, what in (("patients", "its training saw"), ("tuned_on", "its post-processing was chosen on")):
        value = run.manifest.get(field)
        if value:
            seen: SeenPatients = read_patients(value, where)
            if known := [patient for patient in patients if patient in seen]:
                fix = "score it on patients it never saw"
                lines.append(f"{run.path}: {what} {len(known)} of the {len(patients)} patients scored; {fix}")
    return lines


def _other_images(runs: Sequence[ScoredRun]) -> list[str]:
    """The key of a store is made of the images, the labels and the preprocessing: equal plans, equal keys."""
    keys: dict[str, tuple[Any, Path]] = {}
    lines = []
    for run in runs:
        plan = run.path / "plan.yaml"
        if "store" not in run.record or not plan.is_file():
            continue
        versions = run.record.get("versions", {}).get("medseg")
        same = [run.record["fold"], run.record.get("cases"), versions, Plan.load(plan).preprocessing]
        store, other = keys.setdefault(repr(same), (run.record["store"], run.path))
        if store != run.record["store"]:
            fix = "train one of them again"
            lines.append(f"{run.path}: its images or labels are not those of {other}; {fix}")
    return lines[:1]


def _other_patients(runs: Iterable[ScoredRun]) -> list[str]:
    known: dict[str, tuple[str, Path]] = {}
    lines = []
    for run in runs:
        for case, patient in {row.case: row.patient for row in run.rows}.items():
            theirs, other = known.setdefault(case, (patient, run.path))
            if theirs != patient:
                lines.append(f"{run.path}: case {case} has another patient than in {other}; score them again")
    return lines[:1]


def mean_costs(runs: Sequence[ScoredRun]) -> Costs:
    """Of a method: means over its runs, the largest of their memory."""
    every = [run.costs for run in runs]

    def known(values: Iterable[float | None]) -> list[float]:
        found = [value for value in values if value is not None]
        return found if len(found) == len(every) else []

    minutes, hours = known(c.train_minutes for c in every), known(c.gpu_hours for c in every)
    memory = known(c.peak_memory_gb for c in every)
    sizes = {c.parameters for c in every}
    return Costs(
        sum(minutes) / len(minutes) if minutes else None,
        sum(hours) / len(hours) if hours else None,
        max(memory, default=None),
        next(iter(sizes)) if len(sizes) == 1 else None,
    )


def refuse_twins(names: Sequence[str], runs: Sequence[ScoredRun]) -> None:
    """Refuses two runs of one method, seed and fold: which of them counts?

    Raises:
        UserError: there are some.
    """
    counts = Counter(
        (name, run.record["seed"], run.record["fold"]) for name, run in zip(names, runs, strict=True)
    )
    (name, seed, fold), most = counts.most_common(1)[0]
    if most > 1:
        problem = f"{most} runs have the same settings ({name}), seed {seed} and fold {fold}"
        raise UserError(
            "runs", problem, "give one of them, or vary=[name] or vary=[id] where they differ in that"
        )
