"""Pages made from the room's templates: one file each, no scripts, no network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medseg.evaluation.table import number, plural, span


def render(template: str, values: Mapping[str, Any], *, escape: bool = True) -> str:
    """Fills a template; a name that it lacks is an error.

    Args:
        template: its file's name below ``templates``.
        values: what it speaks of.
        escape: whether texts are made safe for HTML.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("medseg.evaluation", "templates"),
        autoescape=escape,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=number, span=span)
    environment.globals.update(plural=plural)
    return environment.get_template(template).render(values)
