"""The stock ``tio.Queue`` behind the same interface, for any TorchIO transform."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from medseg.contracts import IGNORE
from medseg.errors import UserError
from medseg.patches.interface import Crew, Part
from medseg.patches.keys import Purpose, generator
from medseg.patches.patch_queue import check_cases, grid_of
from medseg.patches.sample import empty_batch
from medseg.patches.settings import AugmentationSettings

if TYPE_CHECKING:
    import torch

    from medseg.contracts import Batch
    from medseg.data.plan import Plan
    from medseg.data.store import Store
    from medseg.data.store_case import StoredCase


class TorchIOQueue:
    """TorchIO as its authors ship it: subjects are loaded and transformed whole, patches cut from them.

    Its limits, which `PatchQueue` does not have: the stream depends on the number of workers and ranks; a
    sample cannot be made again from its number; after a restart within an epoch other patches come; it is
    slower by far and holds whole volumes in memory. Ranks share the subjects, so no two see the same one.

    Args:
        store: preprocessed cases.
        ids: the cases to draw from.
        plan: patch size, spacing, in-plane or not.
        augmentation: probabilities and ranges, given to TorchIO's transforms; what TorchIO lacks
            (new contrasts, brightness, contrast, gamma with kept statistics, low resolution) is medseg's own.
        seed: the run's seed.
        labelled: whether patches have labels; then ``foreground_share`` of them are centred on foreground,
            every class as often, the others on background.
        foreground_share: from 0 to 1.
        samples_per_volume: patches cut from a subject each time it is loaded.
        length: patches that the queue holds and shuffles.
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
        samples_per_volume: int = 4,
        length: int = 32,
        torchio_transforms: dict[str, dict[str, Any]] | None = None,
    ) -> None:
        check_cases(store, ids, labelled, foreground_share)
        if samples_per_volume < 1 or length < samples_per_volume:
            raise UserError(
                "queue.length", f"{length} is too short", "hold the patches of one volume at least"
            )
        self.store, self.ids, self.plan, self.labelled = store, tuple(ids), plan, labelled
        self.augmentation, self.seed = augmentation, seed
        self.foreground_share, self.samples_per_volume, self.length = (
            foreground_share,
            samples_per_volume,
            length,
        )
        self.torchio_transforms = torchio_transforms or {}
        if plan.slices > 1:
            problem = f"{plan.slices} neighbouring slices are stacked by the patch queue alone"
            raise UserError("plan.slices", problem, "use queue=patch, or plan.slices=1")
        self.grid = grid_of(plan, augmentation)

    def shard(self, rank: int, world: int) -> tuple[str, ...]:
        """The cases of one rank.

        Raises:
            UserError: there are more ranks than cases.
        """
        if world > len(self.ids):
            raise UserError(
                "queue", f"{len(self.ids)} cases for {world} ranks", "use queue=patch or fewer ranks"
            )
        return self.ids[rank::world]

    def batches(self, part: Part, crew: Crew) -> Iterator[Batch]:
        """The batches of a part. TorchIO's workers are processes."""
        import torch

        shard = self.shard(part.rank, part.world)
        key = int(generator(self.seed, part.epoch, part.first, Purpose.TORCHIO, part.rank).integers(1 << 63))
        state = torch.Generator().manual_seed(key).get_state()
        queue = self._queue(shard, crew.workers)
        for b in range(part.first, part.last):
            batch = empty_batch(
                part.batch_size, len(self.plan.modalities), self.plan.patch_size, self.labelled, crew.pin
            )
            # TorchIO draws from torch's global generator: lend it one of our own.
            with torch.random.fork_rng(devices=[]):
                torch.set_rng_state(state)
                for place, number in enumerate(part.numbers(b)):
                    self._fill(batch, place, queue[0])
                    batch.index[place] = torch.tensor([part.epoch, number])
                state = torch.get_rng_state()
            yield batch

    def _queue(self, ids: Sequence[str], workers: int) -> Any:
        import torchio as tio

        from medseg.patches.torchio_transforms import PadTo, from_settings, named

        steps = [
            PadTo(self.grid.patch),
            *from_settings(self.augmentation, self.grid),
            *named(self.torchio_transforms),
        ]
        subjects = [self._subject(self.store.case(case_id)) for case_id in ids]
        return tio.Queue(
            tio.SubjectsDataset(subjects, transform=tio.Compose(steps)),
            max_length=self.length,
            samples_per_volume=self.samples_per_volume,
            sampler=self._sampler(ids),
            num_workers=workers,
            start_background=False,
        )

    def _sampler(self, ids: Sequence[str]) -> Any:
        import torchio as tio

        codes = {code for case_id in ids for code in self.store.case(case_id).foreground} - {IGNORE}
        if not self.labelled or not codes:
            return tio.UniformSampler(self.grid.patch)
        # A subject without any foreground must still give patches.
        share = {0: max(1 - self.foreground_share, 1e-6)}
        share |= {code: self.foreground_share / len(codes) for code in sorted(codes)}
        return tio.LabelSampler(self.grid.patch, "label", share)

    def _subject(self, case: StoredCase) -> Any:
        import torchio as tio

        affine = np.diag([*self.grid.spacing, 1.0])
        images = {"image": tio.ScalarImage(case.folder, reader=_Reader(case, "image", affine))}
        if self.labelled:
            images["label"] = tio.LabelMap(case.folder, reader=_Reader(case, "label", affine))
        return tio.Subject(case=case.id, present=case.present.tolist(), **images)

    def _fill(self, batch: Batch, place: int, patch: Any) -> None:
        import torch

        present = torch.tensor(patch["present"])
        batch.case[place] = patch["case"]
        batch.present[place] = present
        image = patch["image"].data.reshape(batch.image.shape[1:])
        batch.image[place] = torch.where(present.view(-1, *[1] * (image.ndim - 1)), image, torch.zeros(()))
        if batch.label is not None:
            batch.label[place] = patch["label"].data.reshape(batch.label.shape[1:])


class _Reader:
    """Reads a stored array when TorchIO loads the image; shared by TorchIO's many copies of a subject."""

    def __init__(self, case: StoredCase, name: str, affine: Any) -> None:
        self.case, self.name, self.affine = case, name, affine

    def __deepcopy__(self, memo: dict[int, Any]) -> _Reader:
        return self

    def __call__(self, path: Any) -> tuple[torch.Tensor, Any]:
        import torch

        array = np.array(getattr(self.case, self.name))
        return torch.from_numpy(array if array.ndim == 4 else array[None]), self.affine
