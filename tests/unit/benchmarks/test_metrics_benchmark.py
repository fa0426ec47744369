"""The comparison of metrics: every library gives its numbers, equal where definitions are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[3] / "benchmarks"
# Its own process: the benchmark sets the number of threads before it imports anything.
SCRIPT = """
import json, sys
import numpy as np
sys.path.insert(0, sys.argv[1])
import metrics
from metric_cases import Case
from scipy.ndimage import gaussian_filter

rng = np.random.default_rng(0)
shared = gaussian_filter(rng.standard_normal((36, 30, 40)), 3)
maps = []
for _ in range(2):
    field = shared + 0.3 * gaussian_filter(rng.standard_normal(shared.shape), 2)
    maps.append(np.digitize(field, np.quantile(field, [0.7, 0.8, 0.9])).astype(np.uint8))
case = Case("tiny", "made up", *maps, (1.0, 0.8, 2.5))
scores = {name: library(case) for name, library in metrics.LIBRARIES.items()}
pairs = {name: (scores[name], scores[mine]) for name, mine in metrics.AGREE.items()}
apart = {name: np.abs(a - b).max(axis=1).tolist() for name, (a, b) in pairs.items()}
text = metrics.result(case, {name: [2.0, 1.0, 3.0] for name in metrics.LIBRARIES}, scores)
print(json.dumps([apart, text, metrics.worst(maps[0] > 0, maps[1] > 1)]))
"""


@pytest.mark.skipif(not Path("/proc/cpuinfo").is_file(), reason="the benchmark reads /proc")
def test_libraries_agree_where_their_definitions_do() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(BENCHMARKS)],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    apart, text, hard = json.loads(done.stdout.splitlines()[-1])
    for name, differences in apart.items():
        assert differences[0] < 1e-5, f"Dice of {name}"
        if name != "SimpleITK":
            assert max(differences) < 1e-5, name
    assert "medseg is 1.0 (1.0-1.0) times as fast as MONAI." in text
    assert "| MONAI | 2.0 (1.0-3.0) |" in text
    assert float(hard[3]) < 1e-5
