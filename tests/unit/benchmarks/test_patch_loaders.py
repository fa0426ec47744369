"""The comparison of patch loaders: every loader does what it says, and the arithmetic is right."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parents[3] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

from patch_loaders import cohort, machine, measure, report  # noqa: E402
from patch_loaders.cases import BARS, CASES, GROWTH, LOADERS, QUICK, TINY, Volume  # noqa: E402
from patch_loaders.contract import Opened, Order, loader_of  # noqa: E402
from patch_loaders.evidence import Evidence  # noqa: E402
from patch_loaders.processes import MemoryWatch, cpu_seconds  # noqa: E402

HEAVY, DEFAULT = QUICK[:2]
BRIEF = measure.Limits(warm_patches=2, warm_seconds=0, patches=12, seconds=0, most=1000)
INSTALLED = [
    name for name in LOADERS if all(machine.version_of(package) for package in loader_of(name).PACKAGES)
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cohort.make(TINY, tmp_path_factory.mktemp("benchmark"))


@pytest.fixture
def own_randomness() -> Iterator[None]:
    """Some peers draw from the global generators and seed them."""
    from monai.data import get_track_meta, set_track_meta
    from monai.utils import set_determinism

    metadata, state = get_track_meta(), np.random.get_state()
    flags = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    with torch.random.fork_rng(devices=[]):
        yield
        set_determinism(None)
    set_track_meta(metadata)
    np.random.set_state(state)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = flags


@pytest.mark.usefixtures("own_randomness")
@pytest.mark.parametrize("case", [HEAVY, DEFAULT], ids=lambda case: case.name)
@pytest.mark.parametrize("loader", INSTALLED)
def test_every_loader_gives_such_patches(loader: str, case: Any, folder: Path) -> None:
    order = Order(loader, case, folder, seed=1)
    loader_of(loader).prepare(order)
    found = measure.run(order, BRIEF)
    evidence = found["evidence"]
    assert evidence["problems"] == []
    assert evidence["patches"] >= 14
    assert 0.005 < evidence["foreground"] < 0.4
    assert found["patches"] >= 12
    assert found["cpu_seconds"] > 0


@pytest.mark.usefixtures("own_randomness")
@pytest.mark.parametrize("case", [HEAVY, DEFAULT], ids=lambda case: case.name)
def test_monais_cache_needs_no_copies(case: Any, folder: Path) -> None:
    from monai.data import CacheDataset
    from monai.transforms import Compose
    from patch_loaders import monai_datasets as ours

    steps = [*ours._deterministic(case), ours._crop(case, 1), *ours._random(case)]
    order = Order("monai-cache", case, folder, seed=0)
    dataset = CacheDataset(ours._items(order)[:1], Compose(steps), copy_cache=False, progress=False)
    before = {key: dataset._cache[0][key].clone() for key in ("image", "label")}
    for _ in range(20):
        dataset[0]
    for key, value in before.items():
        assert torch.equal(dataset._cache[0][key], value)


def test_the_same_cohort_again_and_alike_at_any_size() -> None:
    image, label = cohort.arrays(TINY, 1)
    again = cohort.arrays(TINY, 1)
    np.testing.assert_array_equal(image, again[0])
    np.testing.assert_array_equal(label, again[1])
    assert not np.array_equal(label, cohort.arrays(TINY, 2)[1])
    assert image.all()  # medseg and nnU-Net would crop a border of zeros
    large = cohort.arrays(Volume("96", (96, 96, 96), 2, 1), 0)
    assert large[0].shape == (2, 96, 96, 96)
    assert set(np.unique(large[1])) == {0, 1, 2, 3}
    assert 0.02 < (large[1] > 0).mean() < 0.12


def patches(flip_label: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    image, label = cohort.arrays(TINY, 0)
    box = (slice(8, 40),) * 3
    cut = label[box][::-1] if flip_label else label[box]
    pair = torch.from_numpy(image[(slice(None), *box)].copy()), torch.from_numpy(cut.copy())[None]
    return pair[0][None], pair[1][None]


def test_sound_patches_have_no_problems() -> None:
    evidence = Evidence(DEFAULT)
    evidence.add(*patches())
    assert evidence.summary()["problems"] == []


def test_a_label_that_did_not_move_along_is_seen() -> None:
    evidence = Evidence(DEFAULT)
    evidence.add(*patches(flip_label=True))
    assert "not aligned" in evidence.summary()["problems"][0]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda image, label: (image[..., :-1], label), "image of shape"),
        (lambda image, label: (image.double(), label), "image of torch.float64"),
        (lambda image, label: (image, label + 7), "labels"),
        (lambda image, label: (image, label * 0.5), "labels"),
        (lambda image, label: (image * torch.inf, label), "not finite"),
    ],
    ids=["shape", "type", "codes", "fractions", "infinite"],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_odd_patches_are_seen(change: Any, problem: str) -> None:
    evidence = Evidence(DEFAULT)
    evidence.add(*change(*patches()))
    assert any(problem in line for line in evidence.summary()["problems"])


def test_a_measurement_ends_with_a_whole_cycle() -> None:
    image, label = patches()
    batches = ((image.repeat(2, 1, 1, 1, 1), label.repeat(2, 1, 1, 1, 1)) for _ in range(99))
    opened = Opened(batches, cycle=16)
    begun = measure._consume(opened, Evidence(DEFAULT), taken=2, patches=4, seconds=0, most=9)
    assert begun.patches == 14
    assert measure._consume(opened, Evidence(DEFAULT), 0, 20, 0, 9).patches == 32


@pytest.mark.parametrize("case", [*CASES, *QUICK], ids=lambda case: case.name)
def test_an_order_arrives_as_it_was_sent(case: Any, tmp_path: Path) -> None:
    order, limits = Order("torchio-4", case, tmp_path, 3), measure.Limits(seconds=1.5)
    assert measure.decode(measure.encode(order, limits, "measure")) == ("measure", order, limits)


def test_workers_are_paid_for() -> None:
    program = (
        "import time\nblock = bytearray(150_000_000)\n"
        "while time.process_time() < 0.6: pass\nprint(flush=True)\ninput()"
    )
    before = cpu_seconds()
    child = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with MemoryWatch(child.pid, interval=0.05) as memory:
        assert child.stdout is not None
        child.stdout.readline()
        living = cpu_seconds() - before
        child.communicate(b"\n")
    assert living > 0.5
    assert cpu_seconds() - before > 0.5
    assert memory.peak_own_mb > 150
    assert memory.peak_mb >= memory.peak_own_mb


def row(loader: str, number: int, speed: float, peak: float = 500, case: str = "192-heavy") -> dict[str, Any]:
    evidence = {"problems": [], "foreground": 0.1, "together": 0.9, "patches": 40}
    timed = {"patches": speed, "cpu_seconds": 1.0, "wall_seconds": 2.0, "peak_mb": peak, "imported_mb": 300.0}
    rest = {"peak_own_mb": 200.0, "first_batch_seconds": 1.0, "import_seconds": 2.0, "evidence": evidence}
    return {"case": case, "loader": loader, "round": number, **timed, **rest}


def test_ratios_are_taken_within_a_round() -> None:
    rows = [row("ours", n, 100 * (n + 1)) for n in range(3)] + [row("nnunet", n, 5 * (n + 1)) for n in (0, 2)]
    results = report.Results(rows)
    assert results.ratios("192-heavy", "nnunet", report.per_cpu_second) == [20, 20]


def test_verdicts_say_what_holds() -> None:
    rows = [row("ours", 0, 100), row("nnunet", 0, 5, 400), row("torchio-4", 0, 2)]
    rows += [{"case": "192-heavy", "loader": "monai-cache", "round": 0, "error": "not installed: monai"}]
    rows += [row("ours", 0, 100, case="64-patch64"), row("ours", 0, 50, case="384-patch64")]
    cases = [case for case in CASES if case.name in ("192-heavy", "64-patch64", "384-patch64")]
    results = report.Results(rows)
    found = {line.split(" | ")[0].strip("| "): line for line in report.verdicts(cases, results)}
    assert found["192-heavy: ours / nnunet, patches per CPU-second"].endswith("20 | 20-20 | yes |")
    assert found["192-heavy: ours / torchio-4, patches per CPU-second"].endswith("50 | 50-50 | NO |")
    assert "not measured" in found["192-heavy: ours / monai-cache, patches per CPU-second"]
    assert found["384-patch64 / 64-patch64: ours, CPU time of a patch"].endswith("2 | 2-2 | NO |")
    assert found["192-heavy: ours / nnunet, peak memory"].endswith("1.25 | 1.25-1.25 | NO |")
    table = report.table(cases, results)
    assert any("monai-cache" in line and "not installed: monai" in line for line in table)


def test_other_patches_are_no_comparison() -> None:
    alike, other = row("nnunet", 0, 5), row("torchio-4", 0, 5)
    other["evidence"]["foreground"] = 0.3
    results = report.Results([row("ours", 0, 100), alike, other])
    table = report.table([case for case in CASES if case.name == "192-heavy"], results)
    told = [line.split(" | ")[1] for line in table if "another share of foreground than ours" in line]
    assert told == ["torchio-4"]


def test_bars_name_cases_and_loaders_that_are_measured() -> None:
    known = {case.name: case for case in CASES}
    for case, bars in BARS.items():
        assert set(bars) <= set(known[case].every_round)
        assert "ours" in known[case].every_round
    assert {"ours"} <= set(known[GROWTH[0]].every_round) & set(known[GROWTH[1]].every_round)
    named = [loader for case in CASES for loader in case.every_round + case.once]
    assert set(named) == set(LOADERS)


def test_a_run_from_the_command_line(tmp_path: Path) -> None:
    tiny = ["--quick", "--cases", DEFAULT.name, "--only", "torchio-16,nnunet"]
    where = ["--folder", str(tmp_path / "work"), "--results", str(tmp_path / "results")]
    command = [sys.executable, str(BENCHMARKS / "patches.py"), *tiny, *where]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    page = (tmp_path / "results" / "patches-quick.md").read_text(encoding="utf-8")
    assert f"| {DEFAULT.name} | torchio-16 |" in page
    assert f"| {DEFAULT.name} | nnunet |" in page
    assert f"| {DEFAULT.name} | torchio-16 |" in done.stdout
    assert "**Same for all.**" in page
    kept = json.loads((tmp_path / "results" / "patches-quick.json").read_text(encoding="utf-8"))
    assert kept["machine"]["versions"]["torchio"] == machine.version_of("torchio")
    assert {row["loader"] for row in kept["measurements"]} == {"torchio-16", "nnunet"}


def test_unknown_names_are_refused() -> None:
    command = [sys.executable, str(BENCHMARKS / "patches.py"), "--only", "ours,nnunett"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("unknown: nnunett; choose from ours")


def test_rounds_leave_out_the_slow_side_comparisons() -> None:
    case = replace(HEAVY, every_round=("nnunet", "ours"), once=("torchio-4",))
    assert case.loaders == ("ours", "nnunet", "torchio-4")
