"""``medseg bench WHAT``: measures a part of the work on this machine and the user's own data."""

from __future__ import annotations

from typing import Any

from medseg.training.bench_data import bench_data

BENCHES = {"data": bench_data}
"""What can be measured; the check of a configuration knows the names as `medseg.config.roots.MEASURED`."""


def bench(what: str, **choices: Any) -> None:
    """Measures ``what`` with the choices of the command line."""
    BENCHES[what](**choices)
