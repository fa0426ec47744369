"""``medseg bench data``: how fast this machine makes the patches of a training, and what its step needs."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from medseg.contracts import Batch
from medseg.data.machine import usable_cores
from medseg.errors import UserError
from medseg.files import write_json
from medseg.patches.interface import Crew, Part
from medseg.patches.settings import AugmentationSettings
from medseg.tracking.record import surroundings
from medseg.training.bench_table import Bench, PatchCost, Row, print_bench
from medseg.training.budget import seconds_per_step
from medseg.training.console import open_console, quieten
from medseg.training.fitting import Fitting, augments_on_device, bare
from medseg.training.parallel import device_of
from medseg.training.preparation import Prepared, prepare
from medseg.training.queue_speed import FEWEST, Speed, Streams, measure, measure_for
from medseg.training.recipe import Recipe
from medseg.training.run_folder import RunFolder

LONG = 5.0
"""Seconds of a step from which on it is not worth the time to measure it once more with its data."""
_SPATIAL = ("rotation_", "scaling_", "elastic_", "flip_")


@dataclass(frozen=True)
class Extent:
    """How much is measured.

    Attributes:
        seconds: about so many for each number of workers.
        patches: so many instead, rounded up to whole batches.
        workers: which numbers of them; ``None`` for 0, 1, 2, 4 and so on up to the cores.
    """

    seconds: float
    patches: int | None
    workers: list[int] | None

    def counts(self) -> list[int]:
        """The numbers of workers, in order."""
        if self.workers is not None:
            return sorted(set(self.workers))
        cores = usable_cores()
        doubled = [2**power for power in range(cores.bit_length()) if 2**power < cores]
        return [0, *doubled, cores]

    def measure(self, streams: Streams, workers: int, epoch: int) -> Speed:
        """One row."""
        if self.patches is None:
            return measure_for(streams, workers, self.seconds, epoch)
        return measure(streams, workers, math.ceil(self.patches / streams.batch), epoch)


def bench_data(
    *, seconds: float, patches: int | None, workers: list[int] | None, output: str | None, **choices: Any
) -> None:
    """Measures the queues and the step of a training, prints a table and says what to choose.

    Writes the store, as the training would, and the file ``output``.

    Args:
        seconds: see `Extent`.
        patches: see `Extent`.
        workers: see `Extent`.
        output: a JSON file for the numbers.
        choices: the fields of `medseg.training.recipe.Recipe` but its name and where its runs go.

    Raises:
        UserError: bad input.
    """
    if output is not None and (Path(output).is_dir() or not Path(output).absolute().parent.is_dir()):
        raise UserError("output", f"{output} cannot be a file", "name a file in a folder that is there")
    recipe = Recipe(name="bench", runs="", **choices)
    console = open_console()
    quieten()
    if recipe.training.threads is not None:
        torch.set_num_threads(recipe.training.threads)
    # What a training keeps in its run's folder (split, plan) is of no use afterwards.
    with tempfile.TemporaryDirectory(prefix="medseg-bench-") as folder:
        run = RunFolder(Path(folder))
        workbench = Workbench(recipe, run, prepare(recipe, run, console), console)
        found = workbench.measured(Extent(seconds, patches, workers))
    print_bench(found, console)
    if output is not None:
        write_json(Path(output), found.to_json() | surroundings())
        console.print(f"written to {output}", highlight=False, markup=False, soft_wrap=True)


class Workbench:
    """The parts of a training, put together as the training would, in the variants to be measured.

    Args:
        recipe: of the training.
        run: a folder that is thrown away.
        prepared: the data.
        console: for what building the parts says.
    """

    def __init__(self, recipe: Recipe, run: RunFolder, prepared: Prepared, console: Console) -> None:
        self.recipe, self.run, self.prepared, self.console = recipe, run, prepared, console
        self.device = device_of(recipe.training.accelerator)

    @property
    def places(self) -> tuple[str | None, ...]:
        """Where the augmentation may run."""
        queue = self.recipe.queue
        both = self.device.type == "cuda" and augments_on_device(queue, self.prepared.plan)
        return ("cpu", "device") if both else (queue.get("augment_on"),)

    def measured(self, extent: Extent) -> Bench:
        """Everything."""
        cold = measure(self.streams(self.recipe), 0, 1, epoch=0).first_batch
        rows: list[Row] = []
        for place in self.places:
            recipe = self._on(place)
            streams, step = self.streams(recipe), self.step(recipe)
            for workers in extent.counts():
                speed = extent.measure(streams, workers, epoch=1 + len(rows))
                rows.append(Row(speed, place, streams.batch * recipe.training.accumulate, step))
        batches = max(FEWEST, rows[0].speed.patches // (2 * self.streams(self.recipe).batch))
        found = Bench(
            self.prepared.cohort.name,
            len(self.prepared.labelled) + len(self.prepared.unlabelled),
            tuple(self.prepared.plan.patch_size),
            self.device.type,
            usable_cores(),
            cold,
            self.cost(batches),
            tuple(rows),
        )
        return found if found.best.step_seconds > LONG else found.with_check(self.checked(found.best))

    def streams(self, recipe: Recipe) -> Streams:
        """The queues that a training by this recipe reads."""
        data = self._fitting(recipe).datamodule(1)
        return Streams(data.queues, data.batch_sizes, pin=self.device.type == "cuda")

    def step(self, recipe: Recipe) -> float:
        """Seconds of a training step whose batch is there already."""
        streams = self.streams(recipe)
        batch = {
            name: next(iter(queue.batches(Part(0, 0, 1, streams.batch_sizes[name]), Crew(pin=streams.pin))))
            for name, queue in streams.queues.items()
        }
        return self._step(recipe, [batch])

    def checked(self, row: Row) -> float:
        """Seconds of a training step that takes its batches from the loader, as in the training."""
        recipe = self._on(row.augment_on)
        recipe = replace(recipe, training=replace(recipe.training, workers=row.speed.workers))
        loader = self._fitting(recipe).datamodule(recipe.training.epoch_steps).train_dataloader()
        try:
            return self._step(recipe, loader)
        finally:
            loader.close()

    def cost(self, batches: int) -> PatchCost:
        """What the parts of a patch take: the same patches with more and more of the augmentation."""
        recipe = self.recipe
        chances = [f.name for f in fields(AugmentationSettings) if f.name.endswith("_probability")]
        others = [name for name in chances if not name.startswith(_SPATIAL)]
        turned: Any = dict.fromkeys(others, 0.0)
        plain = bare(recipe.queue)
        variants = [
            replace(recipe, queue=plain, augmentation=AugmentationSettings.off()),
            replace(recipe, queue=plain, augmentation=replace(recipe.augmentation, **turned)),
            recipe,
        ]
        streams = [self.streams(variant) for variant in variants]
        # Interleaved and twice: what else the machine does must not be taken for one of the parts.
        seconds = [[measure(each, 0, batches, epoch=0).seconds for each in streams] for _ in range(2)]
        reading, spatial, whole = (
            min(pair) / (batches * streams[0].batch) for pair in zip(*seconds, strict=True)
        )
        return PatchCost(reading, max(spatial - reading, 0.0), max(whole - max(spatial, reading), 0.0))

    def _on(self, place: str | None) -> Recipe:
        """The recipe with the augmentation in this place."""
        if place is None:
            return self.recipe
        return replace(self.recipe, queue=self.recipe.queue | {"augment_on": place})

    def _step(self, recipe: Recipe, batches: Iterable[dict[str, Batch]]) -> float:
        fitting = self._fitting(recipe)
        network, objective = fitting.network_and_objective()
        accumulate = recipe.training.accumulate
        return seconds_per_step(
            network, objective, recipe.optimizer, batches, fitting.precision, accumulate, self.device
        )

    def _fitting(self, recipe: Recipe) -> Fitting:
        return Fitting(recipe, self.run, self.prepared, self.console)
