"""What tells runs apart beside seed and fold: their methods, named by what varies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from medseg.errors import UserError
from medseg.targets import nearest

NO_METHOD = (
    "seed", "fold", "name", "runs", "id", "tracking", "data.root", "data.cache", "data.source", "split.file",
    "split.labelled_file",
    "training.workers", "training.threads", "training.verify", "inference.device", "inference.overwrite",
    "inference.window_batch", "evaluation",
)  # fmt: skip
"""Settings that say where, how fast and how often a run computes, and not what."""

Settings = tuple[tuple[str, str], ...]
_TARGET = "._target_"
ABSENT = "–"


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted setting -> value; lists stay whole."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def method_settings(
    configs: Sequence[Mapping[str, Any]], overrides: Sequence[Sequence[str]], vary: Sequence[str] | None
) -> tuple[list[Settings], list[str]]:
    """What tells each run apart, as ``(setting, value)``.

    Args:
        configs: the configuration of each run.
        overrides: what each was given on the command line; ``network=unet`` there names the network.
        vary: the settings that make a method; ``None`` for all in which runs differ.

    Returns:
        The settings per run, and the settings in which runs differ that ``vary`` leaves out.

    Raises:
        UserError: a name in ``vary`` is no setting of these runs.
    """
    rows = with_choices(configs, overrides)
    if vary is None:
        told, rest = varied(configs, overrides), list[str]()
    else:
        keys = list(dict.fromkeys(key for row in rows for key in row))
        for name in vary:
            _refuse_unknown(name, keys)
        differing = _differing(rows)
        # In the order that was asked for.
        told = _own_options([key for name in vary for key in differing if _under(key, [name])], rows)
        rest = [key for key in varied(configs, overrides) if not _under(key, vary)]
    short = _short_names(told)
    found: list[Settings] = [
        tuple((short[key], _plain(row.get(key, ABSENT))) for key in told) for row in rows
    ]
    return found, rest


def varied(configs: Sequence[Mapping[str, Any]], overrides: Sequence[Sequence[str]]) -> list[str]:
    """The settings in which runs differ beside seed and fold, in full."""
    rows = with_choices(configs, overrides)
    return _own_options([key for key in _differing(rows) if not _under(key, NO_METHOD)], rows)


def _differing(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    keys = dict.fromkeys(key for row in rows for key in row)
    return [key for key in keys if len({repr(row.get(key, ABSENT)) for row in rows}) > 1]


def unknown_to_some(configs: Sequence[Mapping[str, Any]], overrides: Sequence[Sequence[str]]) -> list[str]:
    """The settings that only some runs of a choice have: the others were made before there were any."""
    rows = with_choices(configs, overrides)
    found = dict.fromkeys(key for row in rows for key in row if "." in key and not _under(key, NO_METHOD))
    groups = {key: key.partition(".")[0] for key in found}
    having = {key: {row.get(groups[key]) for row in rows if key in row} for key in found}
    return [
        key
        for key in found
        if any(key not in row and groups[key] in row and row[groups[key]] in having[key] for row in rows)
    ]


def with_choices(
    configs: Sequence[Mapping[str, Any]], overrides: Sequence[Sequence[str]]
) -> list[dict[str, Any]]:
    """The flat configurations, each group led by its choice: ``network: unet`` before ``network.norm: ...``.

    A choice is the word of the command line, else the class; a word stands for all runs of its class where
    no other word does.
    """
    words = [dict(word.split("=", 1) for word in line if "=" in word) for line in overrides]
    groups = list(
        dict.fromkeys(key for c in configs for key, value in c.items() if isinstance(value, Mapping))
    )
    rows: list[dict[str, Any]] = [{} for _ in configs]
    for group in groups:
        classes = [class_of(config.get(group)) for config in configs]
        said: dict[str, set[str]] = {}
        for name, line in zip(classes, words, strict=True):
            said.setdefault(name, set()).update({line[group]} if group in line else ())
        for row, name, line in zip(rows, classes, words, strict=True):
            only = next(iter(said[name])) if len(said[name]) == 1 else name
            row[group] = line.get(group, only)
    for row, config in zip(rows, configs, strict=True):
        row |= {key: value for key, value in flat(config).items() if not key.endswith(_TARGET)}
    return rows


def class_of(value: Any) -> str:
    """The class that a spec names."""
    target = value.get("_target_") if isinstance(value, Mapping) else None
    return str(target).rpartition(".")[2] if target else "default"


def _under(key: str, names: Sequence[str]) -> bool:
    return any(key == name or key.startswith(name + ".") for name in names)


def _refuse_unknown(name: str, keys: Sequence[str]) -> None:
    if not any(_under(key, [name]) for key in keys):
        groups = list(dict.fromkeys([*keys, *(key.partition(".")[0] for key in keys)]))
        guess = nearest(name, groups)
        raise UserError(
            "vary", f"{name} is no setting of these runs", f"did you mean {guess}?" if guess else ""
        )


def _own_options(keys: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Choices of parts first; without options that follow from them, as another network has other options.

    A run that lacks a setting of its choice was made before there was one: that alone tells no methods apart.
    """
    kept = [key for key in keys if "." not in key]
    for key in keys:
        group = key.partition(".")[0]
        if "." not in key:
            continue
        values: dict[str, set[str]] = {}
        for row in rows:
            if key in row:
                values.setdefault(str(row.get(group)), set()).add(repr(row[key]))
        every = set().union(*values.values())
        if (group not in kept and len(every) > 1) or any(len(found) > 1 for found in values.values()):
            kept.append(key)
    return kept


def _short_names(keys: Sequence[str]) -> dict[str, str]:
    """The last word of a setting where that is enough to know it; a probability goes without saying so."""
    last = [key.rpartition(".")[2].removesuffix("_probability") for key in keys]
    return {key: tail if last.count(tail) == 1 else key for key, tail in zip(keys, last, strict=True)}


def _plain(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_plain, value)) + "]"
    return str(value)


def name_of(settings: Settings) -> str:
    """How a method is called: values of parts alone, others with their setting."""
    words = [value if _names_itself(value) else f"{key} {value}" for key, value in settings]
    return ", ".join(words) or "all runs"


def _names_itself(value: str) -> bool:
    return value[:1].isalpha() and value not in ("true", "false", "null", "auto")


def reference_of(settings: Sequence[Settings], against: str) -> dict[Settings, Settings]:
    """Method -> the method it is held against; a reference itself is left out.

    ``against`` is the name of a method, or a value of one setting, as ``early`` or ``fusion=early``: then
    each method is held against the one that differs from it in that setting alone.

    Raises:
        UserError: it is neither, or fits several settings.
    """
    names = {name_of(own).lower(): own for own in settings}
    if (exact := names.get(against.lower())) is not None:
        return {own: exact for own in settings if own != exact}
    key, _, value = against.rpartition("=")
    places = {
        (place, held)
        for own in settings
        for place, (name, held) in enumerate(own)
        if held.lower() == value.lower() and key.lower() in ("", name.lower())
    }
    if len(places) != 1:
        fits = "several settings" if places else "no method"
        problem = f"{against!r} names {fits} of these runs"
        known = "; ".join(name_of(own) for own in dict.fromkeys(settings))
        raise UserError("against", problem, f"give SETTING=VALUE, or one of: {known}")
    ((place, held),) = places
    found = {}
    for own in settings:
        other = (*own[:place], (own[place][0], held), *own[place + 1 :])
        if other != own and other in settings:
            found[own] = other
    return found
