"""Checks a spec against the part it names, and makes the part."""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from medseg.errors import Problems
from medseg.targets.admission import SLOTS, foreign_object, refusal, targets_of
from medseg.targets.annotations import converted, mismatch
from medseg.targets.signature import Parameter, parameters
from medseg.targets.source import PACKAGE

TARGET = "_target_"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name most like ``name``, or ``None`` where none is close."""
    by_lower = {k.lower(): k for k in known}
    found = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else None


def problems(spec: Mapping[str, Any], slot: str, provided: Sequence[str]) -> list[str]:
    """Everything wrong with ``spec``, one line each; nothing is imported unless its package was admitted.

    Args:
        spec: ``_target_`` and the options.
        slot: what the part is for, a key of `SLOTS`.
        provided: the parameters that the caller supplies when it builds the part.
    """
    return _problems(spec, slot, provided, slot, nested=False)


def _problems(
    spec: Mapping[str, Any], slot: str, provided: Sequence[str], where: str, nested: bool
) -> list[str]:
    if TARGET not in spec:
        return [f"{where}: names no part ({TARGET} is missing); choose one with {slot}=NAME"]
    reason = refusal(spec[TARGET], slot)
    if reason:
        return [f"{where}.{TARGET}: {reason}" + _instead(spec[TARGET], slot)]
    name = spec[TARGET].rpartition(".")[2]
    known = {p.name: p for p in parameters(spec[TARGET])}
    foreign = spec[TARGET].split(".", maxsplit=1)[0] != PACKAGE
    if foreign and not set(provided) <= set(known):  # called by position: its own names may differ
        provided = [p.name for p in known.values() if not p.keyword_only][: len(provided)]
    options = {key: value for key, value in spec.items() if key != TARGET}
    found = [
        line for key in options for line in _option(key, options[key], name, known, provided, where=where)
    ]
    found += [line for key in options for line in _inner(options[key], slot, f"{where}.{key}")]
    if nested:  # its owner supplies what it does not name here
        return found
    if not foreign and (lacking := [p for p in provided if p not in known]):
        return [f"{where}.{TARGET}: {name} is no {slot}: its constructor takes no {lacking[0]!r}"]
    missing = [
        p.name for p in known.values() if p.required and p.name not in options and p.name not in provided
    ]
    return found + [f"{where}: {name} needs the option {key!r}; add {where}.{key}=..." for key in missing]


def _instead(target: object, slot: str) -> str:
    if not isinstance(target, str) or not target.startswith(PACKAGE + "."):
        return ""
    known = targets_of(slot)
    guess = nearest(target, known)
    last = {t.rpartition(".")[2]: t for t in known}
    guess = guess or last.get(nearest(target.rpartition(".")[2], last) or "")
    return f"; did you mean {guess!r}?" if guess else ""


def _option(
    key: str, value: object, name: str, known: Mapping[str, Parameter], provided: Sequence[str], *, where: str
) -> list[str]:
    if key in provided:
        return [f"{where}.{key}: is set by medseg itself; remove it"]
    if key not in known or known[key].variadic:
        if any(p.variadic for p in known.values()):
            return []
        guess = nearest(key, set(known) - set(provided))
        hint = f"did you mean {guess!r}?" if guess else _listed(known, provided)
        return [f"{where}: {name} has no option {key!r}; {hint}"]
    wrong = mismatch(value, known[key].annotation)
    if wrong is None:
        return []
    close = nearest(value, known[key].choices) if isinstance(value, str) else None
    return [f"{where}.{key}: {wrong}" + (f"; did you mean {close}?" if close else "")]


def _listed(known: Mapping[str, Parameter], provided: Sequence[str]) -> str:
    options = [name for name in known if name not in provided]
    return f"it takes {', '.join(options)}" if options else "it takes none"


def _inner(value: object, slot: str, where: str) -> list[str]:
    """Parts inside options (a merge in a fusion, terms of a loss) obey the same list."""
    if isinstance(value, Mapping):
        if TARGET in value:
            return _problems(value, slot, (), where, nested=True)
        return [line for key, item in value.items() for line in _inner(item, slot, f"{where}.{key}")]
    if isinstance(value, list | tuple):
        return [line for n, item in enumerate(value) for line in _inner(item, slot, f"{where}.{n}")]
    return []


def build(spec: Mapping[str, Any], slot: str, /, *positional: Any, **keywords: Any) -> Any:
    """Makes the part that ``spec`` describes: checks it, imports it, proves its identity, calls it.

    Options that are specs themselves are handed over as they are: their owner builds them.

    Args:
        spec: ``_target_`` and the options.
        slot: what the part is for, a key of `SLOTS`.
        positional: what the caller supplies, in the constructor's order.
        keywords: what the caller supplies by name.

    Raises:
        Problems: every line that `problems` finds.
    """
    target = spec.get(TARGET)
    reason = refusal(target, slot) if target is not None else None
    known = [] if target is None or reason else parameters(target)
    first = [p.name for p in known if not p.keyword_only][: len(positional)]
    found = problems(spec, slot, [*first, *keywords])
    if found:
        raise Problems(found)
    assert isinstance(target, str)
    annotations = {p.name: p.annotation for p in known}
    options = {k: converted(v, annotations.get(k)) for k, v in spec.items() if k != TARGET}
    return _identity(target, slot)(*positional, **keywords, **options)


def _identity(target: str, slot: str) -> Any:
    if target.split(".", maxsplit=1)[0] != PACKAGE:
        return foreign_object(target)
    module, _, name = target.rpartition(".")
    found = getattr(importlib.import_module(module), name)
    if not (inspect.isclass(found) and found.__module__ == module and found.__qualname__ == name):
        room = SLOTS[slot]
        raise Problems([f"{slot}.{TARGET}: {target} is not the class that medseg.{room} defines there"])
    return found
