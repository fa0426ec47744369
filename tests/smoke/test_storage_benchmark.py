"""The storage benchmark runs, on something tiny."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

FILE = Path(__file__).parents[2] / "benchmarks" / "storage.py"


@pytest.mark.skipif(not Path("/proc/cpuinfo").is_file(), reason="the benchmark reads /proc")
def test_every_format_gives_the_same_voxels_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.spec_from_file_location("storage_benchmark", FILE)
    assert spec is not None
    assert spec.loader is not None
    storage = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "storage_benchmark", storage)
    spec.loader.exec_module(storage)
    out = tmp_path / "storage.md"
    tiny = [
        "--box",
        "12",
        "--enlarged",
        "20",
        "--boxes",
        "2",
        "--patches",
        "3",
        "--rounds",
        "1",
        "--cold",
        "1",
    ]
    storage.main(["--shapes", "1x30x24x20", "2x20x20x9", *tiny, "--folder", str(tmp_path), "--out", str(out)])
    tables = out.read_text().split("## ")[1:]
    assert [table.split()[0] for table in tables] == ["1x30x24x20", "2x20x20x9"]
    for table in tables:
        lines = [line.split("|") for line in table.splitlines() if line.startswith("| npy")]
        largest = {line[1].strip(): line[7].strip() for line in lines}
        assert float(largest["npy float32"]) == 0
        assert float(largest["npy float16"]) < 0.01
        assert float(largest["npy int16"]) < 0.001
        assert all(float(line[8]) > 0 for line in lines)
