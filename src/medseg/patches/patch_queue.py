"""The default queue: sample i of epoch e is a pure function of (seed, e, i)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from medseg.errors import UserError
from medseg.patches.augment import intensity, spatial
from medseg.patches.feed import feed
from medseg.patches.interface import Crew, Part
from medseg.patches.keys import Purpose, generator
from medseg.patches.sample import Sample, empty_batch, views
from medseg.patches.sampler import PatchSampler
from medseg.patches.settings import AugmentationSettings

if TYPE_CHECKING:
    from medseg.contracts import Batch
    from medseg.data.plan import Plan
    from medseg.data.store import Store
    from medseg.data.store_case import StoredCase


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
        torchio_transforms: name of a TorchIO random intensity transform -> its arguments, applied last.

    Raises:
        UserError: no cases, one of them has no label, an option out of range.
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
        torchio_transforms: dict[str, dict[str, Any]] | None = None,
    ) -> None:
        check_cases(store, ids, labelled, foreground_share)
        if not 0 <= label_outside <= 255:
            raise UserError("queue.label_outside", f"{label_outside} is no code", "use 0 or 255")
        self.store, self.ids, self.labelled = store, tuple(ids), labelled
        self.augmentation, self.seed, self.stream = augmentation, seed, int(not labelled)
        self.modalities, self.patch = len(plan.modalities), tuple(plan.patch_size)
        self.grid = grid_of(plan, augmentation)
        self.rules = spatial.Rules(self.grid.in_plane, label_interpolation == "nearest", label_outside)
        share = foreground_share if labelled else 0.0
        self.sampler = PatchSampler(seed, len(self.ids), self.grid.patch, share, self.stream)
        self.appended = _appended(torchio_transforms, plan.spacing)

    def sample(self, epoch: int, number: int) -> Sample:
        """Sample ``number`` of ``epoch``, in memory of its own."""
        batch = empty_batch(1, self.modalities, self.patch, self.labelled)
        self._fill(batch, 0, epoch, number)
        self._append(batch)
        return views(batch)[0]

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        return self.sample(*key)

    def batches(self, part: Part, crew: Crew) -> Iterator[Batch]:
        """The batches of a part; the same whoever makes them."""
        ahead = max(2, -(-2 * crew.workers // part.batch_size))
        for batch in feed(self._planned(part, crew), crew, ahead):
            self._append(batch)
            yield batch

    def _planned(self, part: Part, crew: Crew) -> Iterator[tuple[Batch, list[Any]]]:
        for b in range(part.first, part.last):
            batch = empty_batch(part.batch_size, self.modalities, self.patch, self.labelled, crew.pin)
            numbers = part.numbers(b)
            yield batch, [partial(self._fill, batch, k, part.epoch, n) for k, n in enumerate(numbers)]

    def _fill(self, batch: Batch, place: int, epoch: int, number: int) -> None:
        """Makes one sample in the batch's memory."""
        case_id = self.ids[self.sampler.case(epoch, number)]
        batch.case[place] = case_id
        sample = views(batch)[place]
        sample.index[:] = epoch, number
        try:
            self._make(self.store.case(case_id), sample, epoch, number)
        except UserError:
            raise
        except Exception as error:
            what = f"case {case_id}: sample {number} of epoch {epoch}: {type(error).__name__}: {error}"
            raise SampleError(what) from error

    def _make(self, case: StoredCase, sample: Sample, epoch: int, number: int) -> None:
        sample.present[:] = case.present
        start = self.sampler.start(epoch, number, case.shape, case.foreground if self.labelled else {})
        change = spatial.draw(self._generator(epoch, number, Purpose.SPATIAL), self.augmentation, self.grid)
        flat = sample.image.ndim == 3  # (M, W, H): one slice
        image = sample.image[..., None] if flat else sample.image
        label = None if sample.label is None else sample.label[0, ..., None] if flat else sample.label[0]
        source = spatial.Source(case.image, case.label if self.labelled else None, sample.present)
        spatial.apply(source, spatial.Target(image, label), start, change, self.rules)
        present = tuple(int(m) for m in np.flatnonzero(sample.present))
        channels = intensity.Channels(present, len(self.patch), self.grid.in_plane)
        rng = self._generator(epoch, number, Purpose.INTENSITY)
        intensity.apply(sample.image, intensity.draw(rng, self.augmentation, channels))

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
