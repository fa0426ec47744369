"""medseg's own queue and loader."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from patch_loaders.cases import BATCH, CLASSES, FOREGROUND, Case
from patch_loaders.cohort import image_path, label_path
from patch_loaders.contract import Opened, Order

if TYPE_CHECKING:
    from medseg.data.plan import Plan
    from medseg.patches.settings import AugmentationSettings

PACKAGES = ("medseg",)
_STEPS = 1_000_000


def prepare(order: Order) -> None:
    """Builds the store from the NIfTI files."""
    from medseg.contracts import Labels
    from medseg.data.cohort import Case as Scan
    from medseg.data.cohort import Cohort
    from medseg.data.store import build_store

    volume, folder, plan = order.case.volume, order.folder, _plan(order.case)
    shared = {} if volume.channels == 1 else {name: k for k, name in enumerate(plan.modalities)}
    scans = tuple(
        Scan(
            id=f"case{k}",
            patient=f"case{k}",
            images=dict.fromkeys(plan.modalities, image_path(folder, k)),
            label=label_path(folder, k),
            components=shared,
        )
        for k in range(volume.cases)
    )
    labels = Labels(("a", "b", "c"), tuple((value,) for value in range(1, CLASSES + 1)))
    cohort = Cohort(volume.name, scans, plan.modalities, labels, folder, 3)
    store = build_store(cohort, scans, plan, folder / "store")
    _pointer(folder).write_text(str(store.folder), encoding="utf-8")


def load(order: Order) -> Callable[[], Opened]:
    """`PatchQueue` behind `PatchLoader`, whose workers are threads."""
    import numba  # noqa: F401 - it comes late otherwise, and would count as the loader's memory

    from medseg.data.store import Store
    from medseg.patches.loader import PatchLoader
    from medseg.patches.patch_queue import PatchQueue
    from medseg.patches.settings import AugmentationSettings

    case, plan = order.case, _plan(order.case)

    def build() -> Opened:
        store = Store.open(Path(_pointer(order.folder).read_text(encoding="utf-8")))

        def queue(augmentation: AugmentationSettings) -> PatchQueue:
            return PatchQueue(
                store, store.ids, plan, augmentation, order.seed, True, foreground_share=FOREGROUND
            )

        def settle() -> None:
            always = dict.fromkeys(_probabilities(AugmentationSettings), 1.0)
            queue(AugmentationSettings(**always)).sample(0, 0)  # type: ignore[arg-type]
            queue(AugmentationSettings.off()).sample(0, 0)

        source = queue(_augmentation(case.augmentation, AugmentationSettings))
        loader = PatchLoader({"labelled": source}, {"labelled": BATCH}, _STEPS, case.workers)
        batches = _pairs(iter(loader))
        return Opened(batches, BATCH, settle, batches.close)

    return build


def _pairs(loader: Iterator[Any]) -> Any:
    for batch in loader:
        yield batch["labelled"].image, batch["labelled"].label


def _augmentation(name: str, settings: type[AugmentationSettings]) -> AugmentationSettings:
    if name == "default":
        return settings()
    always = ("rotation", "scaling", "elastic", "noise", "gamma")
    drawn = dict.fromkeys(_probabilities(settings), 0.0) | {f"{kind}_probability": 1.0 for kind in always}
    return settings(**(drawn | {"flip_probability": 0.5}))  # type: ignore[arg-type]


def _probabilities(settings: type[AugmentationSettings]) -> list[str]:
    return [field.name for field in fields(settings) if field.name.endswith("_probability")]


def _plan(case: Case) -> Plan:
    from medseg.data.plan import Plan

    names = tuple(f"m{k}" for k in range(case.volume.channels))
    return Plan(
        spatial_dims=3,
        modalities=names,
        axes=(0, 1, 2),
        spacing=(1.0, 1.0, 1.0),
        patch_size=(case.patch,) * 3,
        batch_size=BATCH,
        strides=((1, 1, 1),),
        kernels=((3, 3, 3),),
        widths=(8,),
        normalisation={name: {"method": "none"} for name in names},
        in_plane_only=False,
        precision="32-true",
    )


def _pointer(folder: Path) -> Path:
    return folder / "store-folder.txt"
