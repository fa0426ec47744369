"""The model card of a bundle: ``CARD.md`` beside ``model.json`` (Mitchell et al., FAT* 2019)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medseg.evaluation.cases import Row, read_cases
from medseg.evaluation.model_card_tables import card_tables
from medseg.evaluation.page import render
from medseg.evaluation.run_files import plain, read_config, read_json, read_record
from medseg.evaluation.settings import EvaluationSettings
from medseg.files import write_text

CARD = "CARD.md"


def write_model_card(run: Path) -> Path:
    """Writes the card of a run's bundle from what lies in the run's folder; no patient is named.

    Reads ``record.json``, ``config.yaml``, ``model/model.json`` and ``cases.csv``.

    Returns:
        The path of ``model/CARD.md``.

    Raises:
        UserError: a file of the run cannot be understood.
    """
    record, config = read_record(run), read_config(run)
    manifest = read_json(run / "model" / "model.json")
    rows = read_cases(run / "cases.csv") if (run / "cases.csv").is_file() else []
    data = config.get("data") or {}
    values = {
        "title": f"{record.get('cohort', 'model')}, {_part(manifest.get('network'))}",
        "kind": "",
        "use": _use(manifest),
        "data": _data(record, data),
        "training": _training(record, config),
        "finish": _finish(manifest),
        "tables": card_tables(rows, _settings(config)),
        "limits": _limits(rows, ensemble=False),
        "made": _made(record),
    }
    return _write(run / "model", values)


def write_ensemble_card(
    folder: Path,
    member: Path,
    facts: Sequence[tuple[str, str]],
    rows: Sequence[Row],
    settings: EvaluationSettings,
) -> Path:
    """Writes the card of an ensemble of folds: the scores are those of its members, out of fold.

    Args:
        folder: the ensemble's.
        member: the folder of one of its runs.
        facts: what is common to the runs.
        rows: every case once, scored by the members that did not see it.
        settings: as they were scored.
    """
    record, config = read_record(member), read_config(member)
    manifest = read_json(member / "model" / "model.json")
    values = {
        "title": f"{record.get('cohort', 'model')}, ensemble of {_part(manifest.get('network'))}",
        "kind": "The mean of the probabilities of several trainings, on all folds of one split.",
        "use": _use(manifest),
        "data": [*facts, *_source(config.get("data") or {})],
        "training": _parts(config),
        "finish": _finish(read_json(folder / "model.json")),
        "tables": card_tables(rows, settings),
        "limits": _limits(rows, ensemble=True),
        "made": _made(record),
    }
    return _write(folder, values)


def _write(folder: Path, values: Mapping[str, Any]) -> Path:
    path = folder / CARD
    write_text(path, render("model_card.md.j2", values, escape=False))
    return path


def _settings(config: Mapping[str, Any]) -> EvaluationSettings:
    """What intervals and definitions depend on, as the run was scored."""
    kept = config.get("evaluation") or {}
    names = ("surface_tolerance_mm", "bootstrap", "confidence", "seed")
    return EvaluationSettings(**{name: kept[name] for name in names if name in kept})


def _part(spec: Any) -> str:
    target = spec.get("_target_") if isinstance(spec, Mapping) else None
    return str(target).rpartition(".")[2] if target else "–"


def _use(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    labels, plan = manifest.get("labels") or {}, manifest.get("plan") or {}
    normalised = plan.get("normalisation") or {}
    pairs = zip(labels.get("names", ()), labels.get("values", ()), strict=False)
    found = [
        ("Segments", ", ".join(f"{name} ({plain(list(values))})" for name, values in pairs)),
        ("Labels may overlap", plain(labels.get("overlapping", False))),
        ("Modalities", plain(manifest.get("modalities", []))),
        ("Works with some missing", plain(manifest.get("missing_modalities", False))),
        ("Dimensions", plain(plan.get("spatial_dims"))),
        ("Works at", f"{plain(plan.get('spacing'), ' × ')} mm"),
        ("Patches", f"{plain(plan.get('patch_size'), ' × ')} voxels"),
        ("Normalisation", ", ".join(f"{name} {how.get('method')}" for name, how in normalised.items())),
    ]
    return [(name, value) for name, value in found if value]


def _data(record: Mapping[str, Any], data: Mapping[str, Any]) -> list[tuple[str, str]]:
    counts = record.get("cases") or {}
    told = [f"{n} {part}" for part, n in counts.items() if n]
    found = [
        ("Cohort", str(record.get("cohort") or "")),
        ("Cases", ", ".join(told)),
        ("Split", f"fold {record.get('fold')}, {str(record.get('split_hash'))[:12]}"),
        *_source(data),
    ]
    return [(name, value) for name, value in found if value]


def _source(data: Mapping[str, Any]) -> list[tuple[str, str]]:
    source = data.get("source") or {}
    return [(word.capitalize(), str(source[word])) for word in ("licence", "cite") if source.get(word)]


def _parts(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    slots = ("network", "fusion", "objective", "loss")
    return [(slot.capitalize(), _part(config.get(slot))) for slot in slots if config.get(slot)]


def _training(record: Mapping[str, Any], config: Mapping[str, Any]) -> list[tuple[str, str]]:
    costs = record.get("costs") or {}
    minutes = costs.get("train_minutes", record.get("minutes"))
    parameters = costs.get("parameters")
    found = [
        *_parts(config),
        ("Seed", plain(record.get("seed"))),
        ("Steps", plain(record.get("steps"))),
        ("Minutes", "" if minutes is None else f"{minutes:.3g}"),
        ("GPU-hours", plain(costs["gpu_hours"]) if costs.get("gpu_hours") else ""),
        ("Parameters", "" if parameters is None else f"{parameters / 1e6:.2f} million"),
    ]
    return [(name, value) for name, value in found if value and value != "–"]


def _finish(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    steps = [_part(step) for step in manifest.get("postprocess") or ()]
    temperature = manifest.get("temperature", 1.0)
    return [("Post-processing", ", ".join(steps) or "none"), ("Temperature", f"{temperature:g}")]


def _made(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    versions, git = record.get("versions") or {}, record.get("git") or {}
    told = ", ".join(f"{name} {versions[name]}" for name in ("medseg", "torch", "monai") if name in versions)
    commit = str(git.get("commit", ""))[:12] + (", edited" if git.get("edited") else "")
    return [(n, v) for n, v in (("Versions", told), ("Code", commit), ("Run", str(record.get("id")))) if v]


def _limits(rows: Sequence[Row], ensemble: bool) -> list[str]:
    told = []
    parts = {row.part for row in rows}
    if ensemble:
        told.append(
            "The scores are those of the members, each on patients it did not see. The ensemble itself has "
            "seen all of these patients and was not scored."
        )
    elif not rows:
        told.append("Nothing has been scored.")
    elif "test" not in parts:
        told.append("No test patient was scored. Validation patients guided the training: optimistic.")
    told.append(
        "Other scanners, protocols, populations or labelling rules than those of the cohort were not "
        "measured. The intervals hold neither other seeds nor other centres."
    )
    told.append("For research. Not a medical device, and not to be used for diagnosis or treatment.")
    return told
