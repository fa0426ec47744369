"""The default queue: sample i of epoch e is a pure function of (seed, e, i)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from medseg.errors import UserError
from medseg.patches.augment import intensity, modality_dropout, spatial
from medseg.patches.batch_memory import BatchMemory
from medseg.patches.feed import feed
from medseg.patches.interface import Crew, Part
from medseg.patches.keys import Purpose, generator
from medseg.patches.sample import Drawn, Sample, empty_batch, views
from medseg.patches.sampler import PatchSampler
from medseg.patches.settings import AugmentationSettings

if TYPE_CHECKING:
    from medseg.contracts import Batch
    from medseg.data.plan import Plan
    from medseg.data.store import Store
    from medseg.data.store_case import StoredCase
    from medseg.patches.on_device.region import Region
    from medseg.patches.on_device.region_batch import RegionBatch


class SampleError(RuntimeError):
    """A patch could not be made; names the case and the sample, and has the cause."""


class PatchQueue:
    """An endless, seeded supply of augmented patches; a map-style dataset whose keys are ``(epoch, i)``.

    Each sample draws its spatial change first, then reads only what lies under the patch, resamples image
    and label once, and changes intensities in place. Nothing depends on what was drawn before it, so
    workers, ranks and restarts do not change a sample.

    Args:
        store: preprocessed cases.
        ids: the cases to draw from.
        plan: patch size, spacing, in-plane or not.
        augmentation: probabilities and ranges.
        seed: the run's seed.
        labelled: whether patches have labels; then ``foreground_share`` of them are centred on foreground.
        foreground_share: from 0 to 1.
        label_interpolation: ``linear`` takes the argmax of the interpolated one-hot labels, ``nearest`` the
            nearest voxel's.
        label_outside: the code beyond the scan: 0 background, 255 ignored. The image is 0 there.
        augment_on: ``cpu``: the workers make finished patches. ``device``: they only read the box of the scan
            under each patch, and `batches` gives a `RegionBatch`, which the data module augments where the
            network runs. The draws are the same; the normals of the noise are the device's own.
        torchio_transforms: name of a TorchIO random intensity transform -> its arguments, applied last; on
            the CPU only.

    Raises:
        UserError: no cases, one of them has no label, an option out of range or that goes with no other.
    """

    def __init__(
        self,
        store: Store,
        ids: Sequence[str],
        plan: Plan,
        augmentation: AugmentationSettings,
        seed: int,
        labelled: bool,
        *,
        foreground_share: float = 0.34,
        label_interpolation: Literal["linear", "nearest"] = "linear",
        label_outside: int = 0,
        augment_on: Literal["cpu", "device"] = "cpu",
        torchio_transforms: dict[str, dict[str, Any]] | None = None,
    ) -> None:
        check_cases(store, ids, labelled, foreground_share)
        if not 0 <= label_outside <= 255:
            raise UserError("queue.label_outside", f"{label_outside} is no code", "use 0 or 255")
        if augment_on == "device" and torchio_transforms:
            problem = "TorchIO's transforms run on the CPU alone and augment_on is device"
            raise UserError("queue.torchio_transforms", problem, "use queue.augment_on=cpu or leave them out")
        if plan.slices > 1 and (augment_on == "device" or torchio_transforms):
            problem = f"{plan.slices} neighbouring slices are stacked on the CPU, by medseg's own transforms"
            fix = "use queue.augment_on=cpu without torchio_transforms, or plan.slices=1"
            raise UserError("plan.slices", problem, fix)
        self.store, self.ids, self.labelled = store, tuple(ids), labelled
        self.augmentation, self.seed, self.stream = augmentation, seed, int(not labelled)
        self.modalities, self.patch = len(plan.modalities), tuple(plan.patch_size)
        self.slices = plan.slices
        self.grid = grid_of(plan, augmentation)
        self.rules = spatial.Rules(self.grid.in_plane, label_interpolation == "nearest", label_outside)
        share = foreground_share if labelled else 0.0
        self.sampler = PatchSampler(seed, len(self.ids), self.grid.patch, share, self.stream)
        self.appended = _appended(torchio_transforms, plan.spacing)
        self.on_device = augment_on == "device"
        self.memory = BatchMemory()

    def sample(self, epoch: int, number: int) -> Sample:
        """Sample ``number`` of ``epoch``, in memory of its own."""
        if self.on_device:
            from medseg.patches.on_device.augmenting import augment

            regions: dict[int, Region] = {}
            self._read(regions, 0, epoch, number)
            return views(augment(self._collated(regions)))[0]
        batch = self._empty(1)
        self._fill(batch, 0, epoch, number)
        self._append(batch)
        return views(batch)[0]

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        return self.sample(*key)

    def batches(self, part: Part, crew: Crew) -> Iterator[Batch]:
        """The batches of a part; the same whoever makes them."""
        ahead = max(2, -(-2 * crew.workers // part.batch_size))
        if self.on_device:
            for regions in feed(self._planned_regions(part, crew), crew, ahead):
                yield self._collated(regions, crew.pin)
            return
        for batch in feed(self._planned(part, crew), crew, ahead):
            self._append(batch)
            yield batch

    def _planned(self, part: Part, crew: Crew) -> Iterator[tuple[Batch, list[Any]]]:
        for epoch, b in part.places():
            batch = self._empty(part.batch_size, crew.pin)
            numbers = part.numbers(b)
            yield batch, [partial(self._fill, batch, k, epoch, n) for k, n in enumerate(numbers)]

    def _fill(self, batch: Batch, place: int, epoch: int, number: int) -> None:
        """Makes one sample in the batch's memory."""
        with self._case(epoch, number) as case:
            batch.case[place] = case.id
            sample = views(batch)[place]
            sample.index[:] = epoch, number
            drawn = self.draw(case, epoch, number)
            sample.present[:] = drawn.present
            if self.slices > 1:
                self._stack(case, drawn, sample)
                return
            flat = sample.image.ndim == 3  # (M, W, H): one slice
            image = sample.image[..., None] if flat else sample.image
            label = None if sample.label is None else sample.label[0, ..., None] if flat else sample.label[0]
            target = spatial.Target(image, label)
            spatial.apply(self._source(case, drawn), target, drawn.start, drawn.spatial, self.rules)
            codes = None if sample.label is None else sample.label[0]
            intensity.apply(sample.image, drawn.changes, codes)

    def _empty(self, size: int, pin: bool = False) -> Batch:
        return empty_batch(size, self.modalities, self.patch, self.labelled, pin, self.slices, self.memory)

    def _stack(self, case: StoredCase, drawn: Drawn, sample: Sample) -> None:
        """Makes a slice and its neighbours as one thin volume; they stand as channels of their modality."""
        shape = (*self.patch, self.slices)
        image = np.empty((self.modalities, *shape), np.float32)
        label = None if sample.label is None else np.empty(shape, np.uint8)
        i, j, k = drawn.start
        first, target = (i, j, k - self.slices // 2), spatial.Target(image, label)
        spatial.apply(self._source(case, drawn), target, first, drawn.spatial, self.rules)
        intensity.apply(image, drawn.changes, label)
        sample.image[...] = np.moveaxis(image, -1, 1).reshape(sample.image.shape)
        if sample.label is not None and label is not None:
            sample.label[0] = label[..., self.slices // 2]

    def _planned_regions(self, part: Part, crew: Crew) -> Iterator[tuple[dict[int, Region], list[Any]]]:
        for epoch, b in part.places():
            regions: dict[int, Region] = {}
            numbers = enumerate(part.numbers(b))
            yield regions, [partial(self._read, regions, k, epoch, n, crew.pin) for k, n in numbers]

    def _read(
        self, regions: dict[int, Region], place: int, epoch: int, number: int, pin: bool = False
    ) -> None:
        """Reads what one sample is made from."""
        from medseg.patches.on_device.region import read

        with self._case(epoch, number) as case:
            drawn = self.draw(case, epoch, number)
            index = (epoch, number)
            regions[place] = read(self._source(case, drawn), self.grid.patch, drawn, case.id, index, pin)

    def _collated(self, regions: Mapping[int, Region], pin: bool = False) -> RegionBatch:
        from medseg.patches.on_device.augmenting import collated

        in_order = [regions[place] for place in range(len(regions))]
        return collated(in_order, self.patch, self.rules, pin)

    @contextmanager
    def _case(self, epoch: int, number: int) -> Iterator[StoredCase]:
        """The case of a sample; what goes wrong with it tells which sample it was."""
        case_id = self.ids[self.sampler.case(epoch, number)]
        try:
            yield self.store.case(case_id)
        except UserError:
            raise
        except Exception as error:
            what = f"case {case_id}: sample {number} of epoch {epoch}: {type(error).__name__}: {error}"
            raise SampleError(what) from error

    def _source(self, case: StoredCase, drawn: Drawn) -> spatial.Source:
        return spatial.Source(case.image, case.label if self.labelled else None, drawn.present)

    def draw(self, case: StoredCase, epoch: int, number: int) -> Drawn:
        """All that is random about a sample; ``case`` must be the one that it shows.

        Raises:
            ValueError: the case has other modalities than the plan.
        """
        if len(case.present) != self.modalities:
            raise ValueError(f"{len(case.present)} modalities in the store, {self.modalities} in the plan")
        start = self.sampler.start(epoch, number, case.shape, case.foreground if self.labelled else {})
        spatially, by_intensity, hiding = (
            self._generator(epoch, number, purpose)
            for purpose in (Purpose.SPATIAL, Purpose.INTENSITY, Purpose.MODALITIES)
        )
        present = modality_dropout.draw(hiding, self.augmentation, case.present)
        channels = tuple(int(m) for m in np.flatnonzero(present))
        changeable = intensity.Channels(channels, len(self.patch) + (self.slices > 1), self.grid.in_plane)
        return Drawn(
            start,
            spatial.draw(spatially, self.augmentation, self.grid),
            intensity.draw(by_intensity, self.augmentation, changeable),
            present,
        )

    def _append(self, batch: Batch) -> None:
        """TorchIO's transforms, by the consumer: they draw from torch's one global generator."""
        if self.appended is None:
            return
        for sample in views(batch):
            epoch, number = (int(n) for n in sample.index)
            rng = self._generator(epoch, number, Purpose.TORCHIO)
            self.appended(sample.image, sample.present, int(rng.integers(1 << 63)))

    def _generator(self, epoch: int, number: int, purpose: Purpose) -> np.random.Generator:
        return generator(self.seed, epoch, number, purpose, self.stream)


def grid_of(plan: Plan, augmentation: AugmentationSettings) -> spatial.Grid:
    """The patch in store axes; a 2D patch is a slice across the last one."""
    flat = plan.spatial_dims == 2
    x, y, z = (*plan.patch_size, 1) if flat else plan.patch_size
    flips = tuple(axis for axis in range(plan.spatial_dims) if plan.axes[axis] in augmentation.flip_axes)
    return spatial.Grid((x, y, z), plan.spacing, flat or plan.in_plane_only, flips)


def check_cases(store: Store, ids: Sequence[str], labelled: bool, foreground_share: float) -> None:
    """Refuses a queue that could not give what it promises.

    Raises:
        UserError: no cases, a case without a label, a share out of range.
    """
    kind = "labelled" if labelled else "unlabelled"
    if not ids:
        raise UserError("queue", f"there are no {kind} cases to draw patches from", "check the split")
    if not 0 <= foreground_share <= 1:
        raise UserError("queue.foreground_share", f"{foreground_share} is no share", "choose from 0 to 1")
    bare = [case_id for case_id in ids if labelled and not store.case(case_id).labelled]
    if bare:
        raise UserError(f"case {bare[0]}", "has no label in the store", "build the store with its label")


def _appended(transforms: Mapping[str, Mapping[str, Any]] | None, spacing: Sequence[float]) -> Any:
    if not transforms:
        return None
    from medseg.patches.torchio_transforms import Appended

    return Appended(transforms, spacing)
