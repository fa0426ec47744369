"""Which file format should hold preprocessed cases? Region reads of each, beside each other.

    python benchmarks/storage.py --shapes 1x192x192x192 1x384x384x384 4x240x240x155

Per format: its size on disk, the CPU time of one box out of the page cache (a patch, and the larger box under
a turned patch), the time and the bytes of one out of a cold cache, and how many patches per CPU-second one
thread draws, reads and warps with the default augmentation. Each box is opened anew, as the store does, and
arrives as float32. The formats take turns; the best round counts. blosc2 is measured where it is installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.files import atomic_path
from medseg.patches.augment import spatial
from medseg.patches.keys import Purpose, generator
from medseg.patches.settings import AugmentationSettings

Box = tuple[slice, ...]
CHUNK, BLOCK = (1, 64, 64, 64), (1, 16, 16, 32)


class Npy:
    """A memory-mapped array; ``int16`` is scaled to the range of each modality."""

    def __init__(self, dtype: str) -> None:
        self.dtype, self.suffix = dtype, ".npy"
        self.name = f"npy {dtype}"

    def write(self, path: Path, image: NDArray[np.float32]) -> None:
        np.save(path, encoded(image, self.dtype))

    def open(self, path: Path) -> Any:
        return np.load(path, mmap_mode="r", allow_pickle=False)


class Blosc:
    """Compressed blocks, each read alone."""

    def __init__(self, dtype: str, codec: str) -> None:
        self.dtype, self.codec, self.suffix = dtype, codec, ".b2nd"
        self.name = f"blosc2 {dtype} {codec}"

    def write(self, path: Path, image: NDArray[np.float32]) -> None:
        import blosc2

        fits = [[min(a, b) for a, b in zip(image.shape, wanted, strict=True)] for wanted in (CHUNK, BLOCK)]
        how = {
            "codec": blosc2.Codec[self.codec],
            "clevel": 5,
            "filters": [blosc2.Filter.SHUFFLE],
            "nthreads": 1,
        }
        blosc2.asarray(
            encoded(image, self.dtype),
            urlpath=str(path),
            chunks=fits[0],
            blocks=fits[1],
            cparams=how,
            mode="w",
        )

    def open(self, path: Path) -> Any:
        import blosc2

        return blosc2.open(str(path), mode="r", mmap_mode="r", dparams={"nthreads": 1})


Format = Npy | Blosc


def encoded(image: NDArray[np.float32], dtype: str) -> NDArray[Any]:
    """The image in another type."""
    if dtype != "int16":
        return image.astype(dtype)
    return np.round(image / steps(image)[:, None, None, None]).astype(np.int16)


def steps(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Per modality, what one step of int16 is worth."""
    return (np.abs(image).max((1, 2, 3)) / np.iinfo(np.int16).max).astype(np.float32)


def formats() -> list[Format]:
    """Those that can be measured here."""
    found: list[Format] = [Npy("float32"), Npy("float16"), Npy("int16")]
    if importlib.util.find_spec("blosc2"):
        found += [Blosc(dtype, codec) for dtype in ("float32", "int16") for codec in ("LZ4", "ZSTD")]
    else:
        print("blosc2 is not installed: left out")
    return found


def scan(shape: Sequence[int]) -> NDArray[np.float32]:
    """``(M, W, H, D)``: structures and noise within an ellipsoid, zero around it, as after z-scoring."""
    from scipy.ndimage import zoom

    rng = np.random.default_rng(0)
    image = np.zeros(shape, np.float32)
    axes = np.meshgrid(
        *(np.linspace(-1, 1, n, dtype=np.float32) for n in shape[1:]), indexing="ij", sparse=True
    )
    inside = axes[0] ** 2 + axes[1] ** 2 + axes[2] ** 2 < 0.9
    for channel in image:
        coarse = rng.standard_normal([max(2, n // 12) for n in channel.shape]).astype(np.float32)
        smooth = zoom(coarse, [n / c for n, c in zip(channel.shape, coarse.shape, strict=True)], order=1)
        channel[inside] = (smooth + 0.1 * rng.standard_normal(channel.shape, dtype=np.float32))[inside]
    return image


@dataclass
class Stored:
    """One case in one format."""

    form: Format
    path: Path
    steps: NDArray[np.float32]

    def box(self, box: Box) -> NDArray[np.float32]:
        """One region, float32, of a file opened anew."""
        found = np.asarray(self.form.open(self.path)[box])
        if self.form.dtype == "int16":
            return np.multiply(found, self.steps[:, None, None, None], dtype=np.float32)
        return found.astype(np.float32)

    def forget(self) -> None:
        """Drops the file from the page cache."""
        with self.path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def boxes(shape: Sequence[int], size: int, count: int) -> list[Box]:
    """Seeded boxes of ``size`` voxels, or of the whole axis where that is shorter."""
    rng = np.random.default_rng(1)
    found = []
    for _ in range(count):
        starts = [int(rng.integers(max(n - size, 0) + 1)) for n in shape[1:]]
        found.append(
            (slice(None), *(slice(s, min(s + size, n)) for s, n in zip(starts, shape[1:], strict=True)))
        )
    return found


def cpu_ms(work: Callable[[Any], object], items: Sequence[Any]) -> float:
    """CPU milliseconds per item."""
    begun = time.process_time()
    for item in items:
        work(item)
    return 1000 * (time.process_time() - begun) / len(items)


def cold(stored: Stored, items: Sequence[Box]) -> tuple[float, float]:
    """Wall milliseconds and megabytes read per box, out of a cold page cache."""
    spent, read = 0.0, 0
    for box in items:
        stored.forget()
        before, begun = getrusage(RUSAGE_SELF).ru_inblock, time.perf_counter()
        stored.box(box)
        spent += time.perf_counter() - begun
        read += getrusage(RUSAGE_SELF).ru_inblock - before
    return 1000 * spent / len(items), 512 * read / len(items) / 1e6


class Warping:
    """Draws, reads and warps patches with the default augmentation, as the queue does."""

    def __init__(self, shape: Sequence[int], size: int) -> None:
        side = min(size, *shape[1:])
        self.shape, self.patch = tuple(shape), (side, side, side)
        self.grid = spatial.Grid(self.patch, (1.0, 1.0, 1.0), False, (0, 1, 2))
        self.present, self.settings = np.ones(shape[0], bool), AugmentationSettings()
        self.out = np.empty((shape[0], *self.patch), np.float32)

    def __call__(self, number: int, stored: Stored, in_place: bool) -> None:
        rng = generator(0, 0, number, Purpose.PLACE)
        start = [int(rng.integers(n - p + 1)) for n, p in zip(self.shape[1:], self.patch, strict=True)]
        change = spatial.draw(generator(0, 0, number, Purpose.SPATIAL), self.settings, self.grid)
        if in_place:
            image, origin = stored.form.open(stored.path), [0, 0, 0]
        else:
            box, origin = self.under(start, change)
            image = stored.box(box)
        source = spatial.Source(image, None, self.present)
        moved = [s - o for s, o in zip(start, origin, strict=True)]
        spatial.apply(source, spatial.Target(self.out, None), moved, change, spatial.Rules(False))

    def under(self, start: Sequence[int], change: spatial.Spatial) -> tuple[Box, list[int]]:
        """The box of the source that a patch shows, and its first voxel."""
        half = (np.array(self.patch) - 1) / 2
        reach = half if change.matrix is None else np.abs(change.matrix) @ half
        if change.elastic is not None:
            reach = reach + np.abs(change.elastic.control).max((1, 2, 3))
        low = np.floor(np.maximum(np.array(start) + half - reach - 1, 0)).astype(int)
        high = np.ceil(np.minimum(np.array(start) + half + reach + 2, self.shape[1:])).astype(int)
        return (slice(None), *(slice(a, b) for a, b in zip(low, high, strict=True))), low.tolist()


def measure(shape: Sequence[int], folder: Path, asked: argparse.Namespace) -> list[list[str]]:
    """The rows of one shape."""
    image = scan(shape)
    stored = [
        Stored(form, folder / f"{form.name.replace(' ', '_')}{form.suffix}", steps(image))
        for form in formats()
    ]
    for one in stored:
        one.form.write(one.path, image)
    errors = [float(np.abs(one.box((slice(None),) * 4) - image).max()) for one in stored]
    del image
    small, large = (boxes(shape, size, asked.boxes) for size in (asked.box, asked.enlarged))
    warping, numbers = Warping(shape, asked.box), range(asked.patches)
    tasks = [(one, False) for one in stored] + [(stored[0], True)]
    best: dict[tuple[int, str], float] = {}
    cpu_ms(lambda n: warping(n, stored[0], False), numbers)  # compiles
    for _ in range(asked.rounds):
        for place, (one, in_place) in enumerate(tasks):
            found = {"patch": cpu_ms(lambda n, o=one, p=in_place: warping(n, o, p), numbers)}
            if not in_place:
                found |= {"box": cpu_ms(one.box, small), "enlarged": cpu_ms(one.box, large)}
            for what, value in found.items():
                best[place, what] = min(value, best.get((place, what), np.inf))
    rows = []
    for place, (one, in_place) in enumerate(tasks):
        speed = f"{1000 / best[place, 'patch']:.0f}"
        if in_place:
            rows.append(["npy float32, warped in place", *[""] * 6, speed])
            continue
        wall, read = cold(one, small[: asked.cold])
        numbers_ = [one.path.stat().st_size / 1e6, best[place, "box"], best[place, "enlarged"], wall, read]
        rows.append([one.form.name, *(f"{n:.1f}" for n in numbers_), f"{errors[place]:.1g}", speed])
    return rows


HEAD = [
    "format",
    "MB",
    "box, ms",
    "larger box, ms",
    "cold box, ms",
    "cold, MB read",
    "largest error",
    "patches/CPU-s",
]


def table(rows: Sequence[Sequence[str]]) -> str:
    """As Markdown."""
    return "\n".join(f"| {' | '.join(line)} |" for line in (HEAD, ["---"] * len(HEAD), *rows))


def processor() -> str:
    """Its name."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next(
        (line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine()
    )


def main(words: Sequence[str] | None = None) -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shapes", nargs="+", default=["1x192x192x192", "1x384x384x384", "4x240x240x155"])
    parser.add_argument("--box", type=int, default=96)
    parser.add_argument("--enlarged", type=int, default=154, help="nnU-Net reads as much for a patch of 96")
    for name, default in (("boxes", 20), ("cold", 5), ("patches", 30), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--folder", type=Path, help="on the disk to measure; a temporary one by default")
    parser.add_argument("--out", type=Path, help="a Markdown file")
    asked = parser.parse_args(words)
    hardware = f"{date.today()}, {processor()}, one thread, numpy {np.__version__}"
    text = [f"# Storage: region reads\n\n{hardware}; box {asked.box}^3, larger box {asked.enlarged}^3."]
    for shape in asked.shapes:
        with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
            rows = measure([int(n) for n in shape.split("x")], Path(folder), asked)
        text.append(f"## {shape}\n\n{table(rows)}")
        print(text[-1], flush=True)
    if asked.out:
        with atomic_path(asked.out) as path:
            path.write_text("\n\n".join(text) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
