"""What ``medseg networks`` says of a part."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from medseg.config.verbs.networks import FOOTNOTE, _cells, _merges, _print, _specs

NETWORKS, FUSIONS = dict(_specs("network")), dict(_specs("fusion"))


def test_every_fusion_is_listed_with_every_merge_it_takes() -> None:
    names = [name for name, _ in _merges()]
    assert len(names) == len(set(names))
    assert {"mid cross_attention", "mid max", "late vote", "agnostic mean_variance"} <= {*names}
    assert not any(name.startswith("early") for name in names)
    assert "agnostic concatenation" not in names


@pytest.mark.parametrize("name", [name for name, _ in _merges()])
def test_merges_are_counted(name: str) -> None:
    spec = dict(_merges())[name]
    parameters, gflop, memory, note = _cells(NETWORKS["unet"], spec, (32, 32), 2, 2, 4)
    assert float(parameters) > 0
    assert float(gflop) >= 0
    assert float(memory) >= 0
    assert note == ""


def test_detectors_are_counted_at_most_and_a_footnote_says_so() -> None:
    cells = _cells(NETWORKS["mask_rcnn_small"], FUSIONS["early"], (60, 64), 1, 2, 8)
    assert float(cells[1]) > 0
    assert cells[2:] == ["-", "at most, patch 64x64"]
    console = Console(file=StringIO(), width=120)
    _print(console, "network=...", (60, 64), 1, {"mask_rcnn_small": cells}, "network")
    assert isinstance(console.file, StringIO)
    assert FOOTNOTE in console.file.getvalue()
    refused = _cells(NETWORKS["mask_rcnn_small"], FUSIONS["late"], (64, 64), 1, 2, 8)
    assert refused[-1] == "must find its objects alone"
