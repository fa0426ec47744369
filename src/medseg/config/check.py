"""Every problem of a configuration, found before anything heavy is imported."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from medseg.config.bindings import ELSEWHERE, NESTED, PROVIDED, SETTINGS, fields, known_keys, make, root_class
from medseg.config.crosschecks import cross_problems
from medseg.targets import SLOTS, Parameter, converted, mismatch, nearest, parameters, problems

MISSING = "???"
Known = Callable[[], Iterable[str]]


def config_problems(verb: str, config: Mapping[str, Any]) -> list[str]:
    """Everything wrong with a composed, resolved configuration; one line each, sorted."""
    root = {key: value for key, value in config.items() if not _is_group(key)}
    groups = {key: value for key, value in config.items() if _is_group(key)}
    taken = {p.name: p for p in parameters(root_class(verb))}
    found = _settings_problems(root_class(verb), taken, root, "", known=lambda: known_keys(verb, config))
    for group, value in groups.items():
        found += _group_problems(verb, config, group, value)
    faulty = {line.partition(":")[0].partition(".")[0] for line in found}
    return sorted({*found, *cross_problems(config, faulty)})


def bind(verb: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """The keywords of the verb's function: root values, a settings object or a spec per group.

    Expects a configuration without problems.
    """
    root = {key: value for key, value in config.items() if not _is_group(key)}
    settings = make(root_class(verb), _converted(root, {p.name: p for p in parameters(root_class(verb))}))
    bound = {name: getattr(settings, name) for name in (p.name for p in parameters(root_class(verb)))}
    for group, value in config.items():
        if group in SETTINGS:
            bound[group] = make(SETTINGS[group], _converted(value, fields(group)))
        elif group in SLOTS:
            bound[group] = dict(value)
    return bound


def _is_group(key: str) -> bool:
    return key in SETTINGS or key in SLOTS


def _converted(values: Mapping[str, Any], taken: Mapping[str, Parameter]) -> dict[str, Any]:
    return {key: converted(value, taken[key].annotation) for key, value in values.items()}


def _group_problems(verb: str, config: Mapping[str, Any], group: str, value: Any) -> list[str]:
    if not isinstance(value, Mapping):
        return [f"{group}: {value!r} is no choice; write {group}=NAME"]
    if group in SLOTS:
        moved = [key for key in value if f"{group}.{key}" in ELSEWHERE]
        told = [f"{group}.{key}: is not here; write {ELSEWHERE[f'{group}.{key}']}=..." for key in moved]
        own = {key: option for key, option in value.items() if key not in moved}
        return told + problems(own, group, PROVIDED[group])

    def known() -> Iterable[str]:
        return known_keys(verb, config)

    found = _settings_problems(SETTINGS[group], fields(group), value, f"{group}.", known=known)
    for (owner, name), dotted in NESTED.items():
        if owner == group and isinstance(value.get(name), Mapping):
            taken = {p.name: p for p in parameters(dotted)}
            found += _typed(taken, value[name], f"{group}.{name}.", known=known)[1]
    return found


def _typed(
    taken: Mapping[str, Parameter], values: Mapping[str, Any], prefix: str, *, known: Known
) -> tuple[dict[str, Any], list[str]]:
    """The values whose key exists and whose type fits, converted; a line for each other one."""
    good: dict[str, Any] = {}
    found: list[str] = []
    for key, value in values.items():
        if key not in taken:
            found += [unknown_key(leaf, known()) for leaf in _leaves(f"{prefix}{key}", value)]
        elif value == MISSING:
            found.append(f"{prefix}{key}: is missing; add {prefix}{key}=...")
        elif wrong := mismatch(value, taken[key].annotation):
            found.append(f"{prefix}{key}: {wrong}" + _near_choice(value, taken[key]))
        else:
            good[key] = converted(value, taken[key].annotation)
    found += [
        f"{prefix}{p.name}: is missing; add {prefix}{p.name}=..."
        for p in taken.values()
        if p.required and p.name not in values
    ]
    return good, found


def _settings_problems(
    dotted: str, taken: Mapping[str, Parameter], values: Mapping[str, Any], prefix: str, *, known: Known
) -> list[str]:
    good, found = _typed(taken, values, prefix, known=known)
    if any(p.required and p.name not in good for p in taken.values()):
        return found
    settings = make(
        dotted, good
    )  # what is wrong already is left at its default, so that the rest is told too
    own = settings.problems() if hasattr(settings, "problems") else []
    wrong = values.keys() - good.keys()
    return found + [f"{prefix}{line}" for line in own if line.partition(":")[0] not in wrong]


def _leaves(path: str, value: Any) -> list[str]:
    """The dotted paths of the values below ``path``; itself where it is one."""
    if not isinstance(value, Mapping) or not value:
        return [path]
    return [leaf for key, item in value.items() for leaf in _leaves(f"{path}.{key}", item)]


def _near_choice(value: object, parameter: Parameter) -> str:
    close = nearest(value, parameter.choices) if isinstance(value, str) else None
    return f"; did you mean {close}?" if close else ""


def unknown_key(key: str, known: Iterable[str]) -> str:
    """The line about a key that does not exist, with the nearest one that does."""
    names = list(known)
    leaf = key.rpartition(".")[2]
    same_leaf = [name for name in names if name.rpartition(".")[2] == leaf]
    guess = same_leaf[0] if len(same_leaf) == 1 else nearest(key, names)
    if guess is None and (close := nearest(leaf, leaves := {n.rpartition(".")[2]: n for n in names})):
        guess = leaves[close]
    return f"{key}: there is no such key" + (f"; did you mean {guess!r}?" if guess else "")
