"""What the report says about the run itself, and what its numbers cannot say."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medseg.evaluation.run_files import plain
from medseg.evaluation.summary import Summary
from medseg.evaluation.table import plural

_VERSIONS = ("medseg", "torch", "lightning", "monai", "torchio", "python")


def title(record: Mapping[str, Any], run: Path) -> str:
    """The run's name, or its folder's."""
    return str(record.get("name") or run.resolve().name)


def facts(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The lines of the header, in order; what the record does not hold is left out."""
    lines = [
        ("Run", record.get("id")),
        ("Cohort", _cohort(record)),
        ("Split", _split(record)),
        ("Data hash", _short(record.get("data_hash"))),
        ("Parts", _parts(record)),
        ("Seed", record.get("seed")),
        ("Started", str(record.get("started") or "").replace("T", " ").replace("+00:00", " UTC")),
        ("Training", _duration(record)),
        ("Waiting for data", _waiting(record)),
        ("Hardware", _hardware(record)),
        ("Versions", _versions(record)),
        ("Code", _code(record)),
    ]
    return [(name, plain(value)) for name, value in lines if value not in (None, "", [], {})]


def command(record: Mapping[str, Any]) -> str:
    """The command line that started the run, or nothing."""
    found = record.get("command")
    if found is None and isinstance(overrides := record.get("overrides"), list):
        found = ["medseg", "train", *overrides]
    return shlex.join(map(str, found)) if isinstance(found, list) else str(found or "")


def limits(summaries: Sequence[Summary]) -> list[str]:
    """What a reader must not conclude, from what was measured."""
    told = []
    if any(summary.part == "validation" for summary in summaries):
        told.append(
            "Validation patients guided this training (checkpoint, early stopping, choices of the user): "
            "their numbers are optimistic. Only a test part that nothing was chosen on is not."
        )
    told.append(
        "The intervals are over patients of this one training. They do not hold what another seed, fold or "
        "centre would change; compare runs by paired differences over several seeds."
    )
    for summary in summaries:
        if summary.patients < 20:
            who = f"{summary.part or 'This'} part: {plural(summary.patients, 'patient')}."
            told.append(f"{who[0].upper()}{who[1:]} Bootstrap intervals of so few are too narrow.")
        told += _missing(summary)
    told.append("For research. Not a medical device, and not to be used for diagnosis or treatment.")
    return told


def _missing(summary: Summary) -> list[str]:
    told = []
    where = f"In the {summary.part} part, " if summary.part else ""
    for label, by in summary.labels.items():
        first = next(iter(by.values()), None)
        if first is None or not (first.n_nan or first.n_missed):
            continue
        parts = []
        if first.n_missed:
            parts.append(
                f"{plural(first.n_missed, 'case')} with exactly one empty mask, averaged as a penalty"
            )
        if first.n_nan:
            parts.append(f"{plural(first.n_nan, 'case')} with neither reference nor prediction, not averaged")
        told.append(f"{where}{label}: {'; '.join(parts)}.")
    return [line[0].upper() + line[1:] for line in told]


def _cohort(record: Mapping[str, Any]) -> str:
    name, counts = record.get("cohort"), record.get("cases")
    told = [str(name)] if isinstance(name, str) else []
    if isinstance(counts, Mapping):
        told += [f"{n} {part}" for part, n in counts.items() if n]
    return ", ".join(told)


def _split(record: Mapping[str, Any]) -> str:
    fold, digest = record.get("fold"), _short(record.get("split_hash"))
    return ", ".join(filter(None, (f"fold {fold}" if fold is not None else "", digest)))


def _short(digest: Any) -> str:
    return str(digest)[:12] if digest else ""


def _parts(record: Mapping[str, Any]) -> str:
    names = [record.get(slot) for slot in ("network", "fusion", "objective", "loss")]
    return ", ".join(str(name) for name in names if name and not isinstance(name, Mapping))


def _duration(record: Mapping[str, Any]) -> str:
    minutes, steps = record.get("minutes"), record.get("steps")
    told = []
    if isinstance(minutes, int | float):
        told.append(f"{minutes:.3g} min" if minutes < 120 else f"{minutes / 60:.1f} h")
    if isinstance(steps, int):
        told.append(plural(steps, "step"))
    return ", ".join(told)


def _waiting(record: Mapping[str, Any]) -> str:
    """The share of the training time in which the step had no batch, and how long the first one took."""
    found = record.get("data_wait")
    if not isinstance(found, Mapping) or not isinstance(share := found.get("share"), int | float):
        return ""
    first = found.get("first_batch_seconds")
    told = f"{100 * share:.{1 if share < 0.0995 else 0}f} % of the training time"
    return f"{told}; first batch after {first:.3g} s" if isinstance(first, int | float) else told


def _hardware(record: Mapping[str, Any]) -> str:
    found = record.get("hardware")
    if not isinstance(found, Mapping):
        return plain(found) if found else ""
    cores, memory = found.get("cores"), found.get("memory_gb")
    told = [
        plain(found["accelerators"]) if found.get("accelerators") else "",
        str(found.get("processor") or ""),
        plural(cores, "core") if isinstance(cores, int) else "",
        f"{memory:g} GB" if isinstance(memory, int | float) else "",
    ]
    return ", ".join(filter(None, told))


def _versions(record: Mapping[str, Any]) -> str:
    found = record.get("versions")
    if not isinstance(found, Mapping):
        return ""
    return ", ".join(f"{name} {found[name]}" for name in _VERSIONS if name in found)


def _code(record: Mapping[str, Any]) -> str:
    git = record.get("git")
    if not isinstance(git, Mapping) or not git.get("commit"):
        return ""
    return f"{str(git['commit'])[:12]}{', edited' if git.get('edited') else ''}"
