"""Every notebook runs from a clean checkout, on small runs, and draws what it should."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from medseg.cli import main
from smoke.conftest import balls, cache, threads  # noqa: F401

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
FIGURES = {
    "01_look_at_a_cohort": 3,
    "02_follow_one_sample": 3,
    "03_compare_runs": 1,
    "04_label_efficiency": 1,
    "05_failure_analysis": 5,
}


@pytest.fixture(scope="session")
def studies(balls: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    """Two small studies: two networks with two seeds, and two label budgets."""
    runs = tmp_path_factory.mktemp("runs")
    words = [
        "train", "data=folder", f"data.root={balls}", f"data.cache={cache}", f"runs={runs}", "tracking=local",
        "training.minutes=null", "training.steps=2", "training.epoch_steps=2", "training.threads=1",
        "training.validation_patches=0", "training.volume_validations=0", "plan.patch_size=[16,16,16]",
        "plan.batch_size=2", "plan.width=4", "inference.flips=false",
    ]  # fmt: skip
    for seed in (0, 1):
        for network in ("unet", "vnet"):
            assert main([*words, "name=networks", f"network={network}", f"seed={seed}"]) == 0
    for labelled in (3, 5):
        assert main([*words, "name=budgets", f"split.labelled={labelled}"]) == 0
    return runs


def test_every_notebook_is_tested() -> None:
    assert {path.stem for path in NOTEBOOKS.glob("*.ipynb")} == set(FIGURES)


@pytest.mark.parametrize("name", FIGURES)
def test_it_runs(
    name: str,
    studies: Path,
    balls: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    book = nbformat.read(NOTEBOOKS / f"{name}.ipynb", 4)
    nbformat.validate(book)
    assert not any(cell.get("outputs") for cell in book.cells), "committed with its outputs"
    run = next((studies / "networks").iterdir())
    study = "budgets" if name == "04_label_efficiency" else "networks"
    monkeypatch.setenv("MEDSEG_DATA", f"data=folder data.root={balls}")
    monkeypatch.setenv("MEDSEG_RUN", str(run))
    monkeypatch.setenv("MEDSEG_STUDY", str(studies / study))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    client = NotebookClient(
        book, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(NOTEBOOKS)}}
    )
    client.execute()
    outputs = [output for cell in book.cells for output in cell.get("outputs", [])]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == FIGURES[name]
    assert not [output.text for output in outputs if output.get("name") == "stderr"]
