"""medseg's patch queue beside nnU-Net's loader, MONAI's datasets and stock TorchIO, in one run.

    python benchmarks/patches.py            # everything, about 25 minutes on 2 cores
    python benchmarks/patches.py --quick    # two minutes: does it work at all
    python benchmarks/patches.py --only ours,nnunet --cases 192-heavy,192-default

What is compared and how it is kept fair: benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from patch_loaders import cohort, machine, report  # noqa: E402
from patch_loaders.cases import CASES, LOADERS, QUICK, Case  # noqa: E402
from patch_loaders.contract import Order, loader_of  # noqa: E402
from patch_loaders.measure import Limits, encode  # noqa: E402
from patch_loaders.processes import MemoryWatch  # noqa: E402

NAME = "patches"
LONGEST = 600
BRIEF = Limits(warm_patches=4, warm_seconds=0.5, patches=8, seconds=0.3, most=2)
ONE_THREAD = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "BLOSC_NTHREADS",
    "NUMBA_NUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
)


def main() -> None:
    """Prepares, measures in turns, prints and writes."""
    options = _options()
    chosen = _cases(options)
    where = machine.describe()
    command = " ".join(["python benchmarks/patches.py", *sys.argv[1:]])
    head = report.header(where, _notes(), command)
    limits = BRIEF if options.quick else Limits(seconds=options.seconds)
    rows: list[dict[str, Any]] = []
    results = report.Results(rows)
    with tempfile.TemporaryDirectory() as kernels:
        os.environ["NUMBA_CACHE_DIR"] = kernels
        folders = _prepare(chosen, options.folder)
        if first := next((case for case in chosen if "ours" in case.loaders), None):
            # Nothing is compiled yet; from here on it is read from that folder.
            order = Order("ours", first, folders[first.volume.name], seed=0)
            rows.append(_measure(order, BRIEF) | {"case": "compile", "round": 0})
        for number in range(options.rounds):
            rows += _round(number, chosen, folders, limits)
            # After each round, so that little is lost if the run is ended.
            text = report.page(head, chosen, results)
            path = report.write(options.results, _name(options), text, where, rows)
    print("\n".join([*report.table(chosen, results), "", *report.verdicts(chosen, results)]))
    print(f"\nWritten to {path}", file=sys.stderr)


def _round(
    number: int, cases: list[Case], folders: dict[str, Path], limits: Limits
) -> Iterator[dict[str, Any]]:
    """Every loader in every case, in turns; the slow side comparisons in the first round only."""
    for case in cases:
        for loader in case.loaders:
            if number == 0 or loader in case.every_round:
                order = Order(loader, case, folders[case.volume.name], seed=number)
                row = _measure(order, limits) | {"round": number}
                _say(row)
                yield row


def _name(options: argparse.Namespace) -> str:
    """Only a whole run is the result."""
    if options.quick:
        return f"{NAME}-quick"
    whole = options.cases == "" and set(options.only.split(",")) == set(LOADERS)
    return NAME if whole else f"{NAME}-part"


def _options() -> argparse.Namespace:
    cache = Path(os.environ.get("MEDSEG_CACHE", Path.home() / ".cache" / "medseg"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="tiny volumes, one round")
    parser.add_argument("--only", default=",".join(LOADERS), help="loaders, separated by commas")
    parser.add_argument("--cases", default="", help="cases, separated by commas (default: all)")
    parser.add_argument(
        "--rounds", type=int, default=0, help="how often each is measured (default: 3, quick 1)"
    )
    parser.add_argument("--all-rounds", action="store_true", help="measure every loader in every round")
    parser.add_argument("--seconds", type=float, default=Limits.seconds, help="least length of a measurement")
    parser.add_argument("--folder", type=Path, default=cache / "benchmarks", help="for the cohorts, 8 GB")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="where the tables go")
    parser.add_argument("--list", action="store_true", help="list the cases and loaders")
    options = parser.parse_args()
    options.rounds = options.rounds or (1 if options.quick else 3)
    return options


def _cases(options: argparse.Namespace) -> list[Case]:
    known = QUICK if options.quick else CASES
    if options.list:
        print("loaders:", *LOADERS, "\ncases:", *(case.name for case in known))
        sys.exit()
    names = [name for name in options.cases.split(",") if name]
    only = options.only.split(",")
    for name, allowed in ((only, LOADERS), (names, [case.name for case in known])):
        if odd := set(name) - set(allowed):
            sys.exit(f"unknown: {', '.join(sorted(odd))}; choose from {', '.join(allowed)}")
    chosen = []
    for case in known:
        if not names or case.name in names:
            every, once = ([n for n in group if n in only] for group in (case.every_round, case.once))
            if options.all_rounds:
                every, once = [*every, *once], []
            chosen.append(replace(case, every_round=tuple(every), once=tuple(once)))
    return [case for case in chosen if case.loaders]


def _prepare(cases: list[Case], root: Path) -> dict[str, Path]:
    """Writes the cohorts and each loader's own format of them."""
    folders: dict[str, Path] = {}
    for case in cases:
        print(f"preparing {case.name}", file=sys.stderr, flush=True)
        folder = folders.setdefault(case.volume.name, cohort.make(case.volume, root))
        for loader in case.loaders:
            if not _missing(loader):
                _child("prepare", Order(loader, case, folder, 0), Limits())
    return folders


def _warm(folder: Path) -> None:
    """Reads all files of a cohort into the page cache, before each measurement: systems may drop them."""
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            with file.open("rb") as stream:
                while stream.read(1 << 24):
                    pass


def _measure(order: Order, limits: Limits) -> dict[str, Any]:
    row: dict[str, Any] = {"case": order.case.name, "loader": order.loader, "load": os.getloadavg()[0]}
    if missing := _missing(order.loader):
        return row | {"error": f"not installed: {', '.join(missing)}"}
    _warm(order.folder)
    return row | _child("measure", order, limits)


def _child(job: str, order: Order, limits: Limits) -> dict[str, Any]:
    """Runs a job in a fresh process; what it found, with its peak memory, or ``error``."""
    environment = os.environ | dict.fromkeys(ONE_THREAD, "1") | {"PYTHONPATH": str(HERE)}
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "patch_loaders.measure"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    with MemoryWatch(process.pid) as memory:
        try:
            out, problems = process.communicate(encode(order, limits, job), timeout=LONGEST)
        except subprocess.TimeoutExpired:
            workers = psutil.Process(process.pid).children(recursive=True)
            process.kill()
            for worker in workers:
                worker.kill()
            process.communicate()
            return {"error": f"took longer than {LONGEST} s"}
    if process.returncode:
        lines = problems.strip().splitlines() or [f"exit status {process.returncode}"]
        print(problems, file=sys.stderr)
        return {"error": lines[-1].replace("|", "/")}
    found: dict[str, Any] = json.loads(out.strip().splitlines()[-1])
    peaks = {"peak_mb": memory.peak_mb, "peak_own_mb": memory.peak_own_mb, "memory_kind": memory.kind}
    return found | peaks


def _missing(loader: str) -> list[str]:
    return [package for package in loader_of(loader).PACKAGES if machine.version_of(package) is None]


def _notes() -> str:
    """The rules of the comparison, from the README, so that the results carry them."""
    text = (HERE / "README.md").read_text(encoding="utf-8")
    return text.partition("<!-- rules -->")[2].partition("<!-- end of rules -->")[0]


def _say(row: dict[str, Any]) -> None:
    place = f"{time.strftime('%H:%M:%S')} round {row['round'] + 1} {row['case']} {row['loader']}"
    if "error" in row:
        print(f"{place}: {row['error']}", file=sys.stderr, flush=True)
    else:
        speed = f"{report.per_cpu_second(row):.2f} patches/CPU-s, {row['peak_mb']:.0f} MB"
        print(
            f"{place}: {speed}, first batch {row['first_batch_seconds']:.1f} s", file=sys.stderr, flush=True
        )


if __name__ == "__main__":
    main()
