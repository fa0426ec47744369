"""The page of a check: what it shows, of broken and hostile cohorts too, and that it needs no network."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from small_cohort import on_disk

from medseg.contracts import Labels
from medseg.data.check_page import NAME, cases_to_show, number, write_check_page
from medseg.data.checks.case_picture import colours, draw_case, telling_voxel
from medseg.data.checks.finding import Finding
from medseg.data.cohort import Case, Cohort
from medseg.data.settings import DataSettings
from medseg.data.source import open_cohort
from medseg.data.verify import inspect


class Seen(HTMLParser):
    """Tags that opened and closed, addresses, and the text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.text = ""
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "img", "br", "link"):
            self.open.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.text += data


def page_of(cohort: Cohort, folder: Path, **options: int) -> Seen:
    path = write_check_page(cohort, inspect(cohort, progress=False), folder, **options)
    return Seen(path.read_text(encoding="utf-8"))


def test_a_clean_cohort(tmp_path: Path) -> None:
    cohort = on_disk(tmp_path, 5, modalities=("T1",))
    seen = page_of(cohort, tmp_path / "out")
    assert (tmp_path / "out" / NAME).is_file()
    assert "Ready to train" in seen.text
    assert "organ" in seen.text
    assert "5 of 5" in seen.text
    assert len(seen.addresses) == 5
    assert all(address.startswith("data:image/png;base64,") for address in seen.addresses)
    picture = Image.open(io.BytesIO(base64.b64decode(seen.addresses[0].partition(",")[2])))
    pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3).astype(int)
    for _, colour in colours(cohort.labels):
        tone = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)])
        assert np.abs(pixels - tone).max(axis=1).min() < 40  # thin lines are smoothed


def test_findings_are_grouped_and_their_cases_come_first(tmp_path: Path) -> None:
    cohort = on_disk(tmp_path, 9)
    (cohort.cases[7].label or Path()).write_bytes(b"")
    cohort.cases[4].images["T1"].unlink()
    cohort.cases[4].images["T2"].unlink()
    seen = page_of(cohort, tmp_path / "out", cases=6)
    text = " ".join(seen.text.split())
    assert "3 errors: a training refuses this cohort until they are mended" in text
    assert text.index("Errors") < text.index("Warnings") < text.index("The cohort in numbers")
    assert "T2 (6 of 9)" in text
    gallery = text[text.index("6 cases to look at") :]
    assert re.findall(r"case\d", gallery)[:2] == ["case4", "case7"]
    assert "no image of this case can be read" in gallery
    assert "its label cannot be drawn: see the findings" in gallery
    assert len(seen.addresses) == 5  # one of six has nothing to draw


def test_no_fault_hides_the_others(tmp_path: Path) -> None:
    cohort = on_disk(tmp_path, 12, write=False)
    ids = [case.id for case in cohort.cases]
    many = Finding("f", "x", "p", "x", "error", "common", tuple(ids[:9]))
    rare = Finding("f", "x", "p", "x", "warning", "rare", (ids[10], "gone"))
    chosen = [case.id for case in cases_to_show(cohort, [many, rare], 6)]
    assert chosen[:3] == [ids[0], ids[1], ids[10]]
    assert len(chosen) == len(set(chosen)) == 6
    assert len(cases_to_show(cohort, [], 100)) == 12


def test_names_are_escaped(tmp_path: Path) -> None:
    cohort = on_disk(tmp_path, 1, modalities=("T1",))
    hostile = "<script>alert(1)</script>"
    cohort = replace(cohort, name=hostile, cases=(replace(cohort.cases[0], id=hostile, centre=hostile),))
    cohort = replace(cohort, labels=Labels((hostile, '"><img src=x>'), ((1,), (2,))))
    seen = page_of(cohort, tmp_path / "out")
    assert hostile in seen.text
    assert len(seen.addresses) == 1


def test_findings_alone_and_a_named_page(tmp_path: Path) -> None:
    cohort = on_disk(tmp_path, 2, modalities=("T1",))
    target = tmp_path / "page.html"
    assert write_check_page(cohort, [], target) == target
    seen = Seen(target.read_text(encoding="utf-8"))
    assert "Ready to train" in seen.text
    assert "Grids" not in seen.text


def test_a_label_elsewhere_is_drawn_and_said(tmp_path: Path) -> None:
    cohort = on_disk(tmp_path, 1, modalities=("T1",))
    case = cohort.cases[0]
    assert case.label is not None
    array = np.asarray(nib.load(case.label).dataobj)
    nib.save(nib.Nifti1Image(array, np.diag([-1.0, 1, 2, 1])), case.label)
    picture = draw_case(cohort, case, 400)
    assert picture.png is not None
    assert "voxel on voxel" in picture.note
    nib.save(nib.Nifti1Image(array[1:], np.diag([1.0, 1, 2, 1])), case.label)
    assert "another shape" in draw_case(cohort, case, 400).note
    assert draw_case(cohort, replace(case, label=None), 400).note == "no label"


def test_planes_are_turned_and_to_scale(tmp_path: Path) -> None:
    """The same scan stored along other axes gives the same picture."""
    cohort = on_disk(tmp_path, 1, modalities=("T1",))
    case = cohort.cases[0]
    before = draw_case(cohort, case, 400)
    for path in case.files:
        image = nib.load(path)
        flipped = image.as_reoriented(np.array([[2, 1], [0, -1], [1, -1]]))
        nib.save(flipped, path)
    after = draw_case(cohort, case, 400)
    assert after.shape != before.shape
    assert after.png == before.png


def test_small_classes_are_cut_too() -> None:
    large, small = np.zeros((2, 12, 12, 12), dtype=bool)
    large[:10, :10, :10] = True
    small[8:9, 7:9, 6:9] = True
    large &= ~small
    i, j, k = telling_voxel([large, small])
    assert i == 8
    assert j in (7, 8)
    assert k in (6, 7, 8)


def test_pictures_regions_and_ignored_pixels(tmp_path: Path) -> None:
    random = np.random.Generator(np.random.Philox(5))
    label = np.zeros((24, 32), dtype=np.uint8)
    label[4:20, 4:20], label[8:12, 8:12], label[:2] = 1, 2, 9
    Image.fromarray(random.integers(0, 255, (24, 32), dtype=np.uint8)).save(tmp_path / "a.png")
    Image.fromarray(label).save(tmp_path / "a_label.png")
    labels = Labels(("whole", "core"), ((1, 2), (2,)), overlapping=True, ignore=9)
    case = Case("a", "a", {"photo": tmp_path / "a.png"}, tmp_path / "a_label.png")
    seen = page_of(Cohort("pictures", (case,), ("photo",), labels, tmp_path, 2), tmp_path / "out")
    assert "ignored" in seen.text
    assert "256 px" in " ".join(seen.text.split())
    assert "32 × 24" in seen.text


@pytest.mark.parametrize(
    ("value", "text"),
    [(3.0, "3"), (1234.0, "1,234"), (0.0361, "0.0361"), (67082.75, "67,083"), (1.5999, "1.6")],
)
def test_numbers(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.real
def test_a_public_set(shared_data: Path, tmp_path: Path) -> None:
    cohort = open_cohort(DataSettings(name="chase", root=str(shared_data / "chase_db1")))
    cohort = replace(cohort, cases=cohort.cases[:3])
    seen = page_of(cohort, tmp_path)
    assert "2 raters" in " ".join(seen.text.split())
    assert len(seen.addresses) == 3
