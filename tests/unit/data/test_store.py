from __future__ import annotations

import json
import mmap
import os
import pickle
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from small_cohort import a_plan, on_disk

from medseg.data.cohort import read_label, read_modality
from medseg.data.preprocess import preprocess_case
from medseg.data.source_hash import SourceHashes
from medseg.data.store import Recipe, Store, build_case, build_store
from medseg.errors import Problems, UserError
from medseg.files import file_hash

PLAN = a_plan((1.0, 1.0, 2.0), modalities=("T1", "T2"))


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return on_disk(tmp_path_factory.mktemp("cohort"), cases=6)


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def build(cohort, cache, plan=PLAN, **more) -> Store:
    return build_store(cohort, cohort.cases, plan, cache, **more)


def contents(store: Store) -> dict[str, str]:
    files = (path for case in store.cases.values() for path in sorted(case.folder.iterdir()))
    return {f"{path.parent.name}/{path.name}": file_hash(path) for path in files}


def times(store: Store) -> dict[str, int]:
    return {case_id: (case.folder / "image.npy").stat().st_mtime_ns for case_id, case in store.cases.items()}


def is_mapped(array: np.ndarray) -> bool:
    while isinstance(array, np.ndarray):
        array = array.base
    return isinstance(getattr(array, "obj", array), mmap.mmap)


def test_a_case_comes_back_as_it_was_prepared(cohort, cache):
    store = build(cohort, cache)
    assert store.ids == tuple(case.id for case in cohort.cases)
    for case in cohort.cases:
        volumes = {m: read_modality(case, m) for m in case.images}
        expected = preprocess_case(volumes, read_label(case, cohort.labels), PLAN, cohort.labels)
        stored = store.case(case.id)
        assert is_mapped(stored.image)
        assert is_mapped(stored.label)
        assert not stored.image.flags.writeable
        np.testing.assert_array_equal(stored.image, expected.image)
        np.testing.assert_array_equal(stored.label, expected.label)
        np.testing.assert_array_equal(stored.present, expected.present)
        assert stored.geometry == expected.geometry
        assert stored.shape == expected.image.shape[1:]
        assert set(stored.foreground) == {1, 2}
        for code, positions in stored.foreground.items():
            assert positions.dtype == np.int32
            assert len(positions) == (expected.label == code).sum()
            assert (expected.label[tuple(positions.T)] == code).all()
    assert store.damaged() == []
    with pytest.raises(UserError, match="no case 'x'"):
        store.case("x")


def test_arrays_are_plain_numpy_files_and_the_store_travels(cohort, cache):
    store = build(cohort, cache)
    case = store.case("case0")
    np.testing.assert_array_equal(np.load(case.folder / "image.npy", allow_pickle=False), case.image)
    again = pickle.loads(pickle.dumps(store))
    np.testing.assert_array_equal(again.case("case0").image, case.image)
    assert Store.open(store.folder) == store


def test_workers_do_not_change_a_byte(cohort, tmp_path):
    one, three = build(cohort, tmp_path / "1"), build(cohort, tmp_path / "3", workers=3)
    assert contents(one) == contents(three)
    assert one.key == three.key


def test_a_second_build_makes_nothing_again(cohort, cache):
    before = times(build(cohort, cache))
    again = build(cohort, cache)
    assert times(again) == before
    fewer = build_store(cohort, cohort.cases[:2], PLAN, cache)
    assert fewer.ids == ("case0", "case1")
    assert times(fewer).items() <= before.items()


def test_what_a_case_depends_on_changes_its_key(cohort, cache, tmp_path):
    store = build(cohort, cache)
    assert build(cohort, cache, replace(PLAN, spacing=(1.0, 1.0, 1.0))).key != store.key
    assert build(cohort, cache, replace(PLAN, batch_size=9)).key == store.key
    other_labels = replace(cohort, labels=replace(cohort.labels, values=((2,), (1,))))
    assert build(other_labels, cache).key != store.key
    image = cohort.cases[0].images["T1"]
    changed = tmp_path / "changed.nii.gz"
    nib.save(
        nib.Nifti1Image(nib.load(image).get_fdata(dtype=np.float32) + 1, nib.load(image).affine), changed
    )
    case = replace(cohort.cases[0], images={**cohort.cases[0].images, "T1": changed})
    other = build(replace(cohort, cases=(case, *cohort.cases[1:])), cache)
    assert other.case("case0").folder != store.case("case0").folder
    assert other.case("case1").folder == store.case("case1").folder


def test_a_file_overwritten_in_place_is_noticed(tmp_path):
    cohort = on_disk(tmp_path / "cohort", cases=1)
    store = build(cohort, tmp_path / "cache")
    image = cohort.cases[0].images["T1"]
    nib.save(
        nib.Nifti1Image(nib.load(image).get_fdata(dtype=np.float32)[::-1], nib.load(image).affine), image
    )
    again = build(cohort, tmp_path / "cache")
    assert again.key != store.key
    assert not np.array_equal(again.case("case0").image, store.case("case0").image)


def test_labels_are_stored_for_whom_they_are_asked_only(cohort, cache):
    store = build(cohort, cache, with_labels={"case1", "case2"})
    assert store.labelled == ("case1", "case2")
    hidden = store.case("case0")
    assert hidden.label is None
    assert hidden.foreground == {}
    assert sorted(path.name for path in hidden.folder.iterdir()) == ["image.npy", "meta.json", "settled"]
    assert build(cohort, cache).case("case0").label is not None
    assert build(cohort, cache, with_labels=()).labelled == ()


def test_labels_that_may_not_be_read_may_even_be_broken(cohort, cache, tmp_path):
    (tmp_path / "broken.nii.gz").write_bytes(b"no label")
    case = replace(cohort.cases[0], label=tmp_path / "broken.nii.gz")
    assert build_store(cohort, [case], PLAN, cache, with_labels=()).ids == ("case0",)
    with pytest.raises(Problems, match=r"broken\.nii\.gz"):
        build_store(cohort, [case], PLAN, cache)


def test_an_empty_label_is_a_label(cohort, cache, tmp_path):
    path = tmp_path / "empty.nii.gz"
    shape = nib.load(cohort.cases[0].label).shape
    nib.save(nib.Nifti1Image(np.zeros(shape, np.uint8), nib.load(cohort.cases[0].label).affine), path)
    store = build_store(cohort, [replace(cohort.cases[0], label=path)], PLAN, cache)
    assert store.labelled == ("case0",)
    assert store.case("case0").foreground == {}


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


DAMAGE = {
    "truncated image": lambda folder: truncate(folder / "image.npy"),
    "truncated label": lambda folder: truncate(folder / "label.npy"),
    "longer image": lambda folder: (folder / "image.npy").open("ab").write(b"more"),
    "no foreground": lambda folder: (folder / "foreground.npy").unlink(),
    "truncated meta": lambda folder: truncate(folder / "meta.json"),
    "edited meta": lambda folder: (folder / "meta.json").write_text(
        (folder / "meta.json").read_text().replace('"case1"', '"case2"')
    ),
    "no meta": lambda folder: (folder / "meta.json").unlink(),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_seen_and_mended(cohort, cache, damage):
    store = build(cohort, cache)
    whole, before = contents(store), times(store)
    DAMAGE[damage](store.case("case1").folder)
    with pytest.raises(Problems, match="case1 is damaged"):
        Store.open(store.folder)
    mended = build(cohort, cache)
    assert contents(mended) == whole
    assert {i for i in before if times(mended)[i] != before[i]} <= {"case1"}


def test_flipped_bits_are_found_on_demand(cohort, cache):
    store = build(cohort, cache)
    path = store.case("case2").folder / "image.npy"
    blob = bytearray(path.read_bytes())
    blob[-1] ^= 1
    path.write_bytes(blob)
    assert len(store.damaged()) == 1
    assert str(path) in store.damaged()[0]


def test_a_case_that_may_not_have_reached_the_disk_is_checked_byte_by_byte(cohort, cache):
    store = build(cohort, cache)
    whole = contents(store)
    folder = store.case("case3").folder
    for path in (folder / "settled", store.case("case4").folder / "settled"):
        path.unlink()
    blob = (folder / "label.npy").read_bytes()
    (folder / "label.npy").write_bytes(
        blob[:-100] + bytes(100)
    )  # as a power cut leaves it: size right, zeros
    (folder / "image.npy").write_bytes(bytes((folder / "image.npy").stat().st_size))
    before = times(store)
    mended = build(cohort, cache)
    assert contents(mended) == whole
    assert {i for i in before if times(mended)[i] != before[i]} == {"case3"}


def test_a_broken_store_file_is_refused_and_made_again(cohort, cache):
    store = build(cohort, cache)
    for text in ("", "{}", (store.folder / "store.json").read_text().replace("case1", "case9")):
        (store.folder / "store.json").write_text(text)
        with pytest.raises(UserError, match="is not a whole store"):
            Store.open(store.folder)
        assert build(cohort, cache) == store


def test_all_unusable_cases_are_named_and_the_others_kept(cohort, cache, tmp_path):
    bad = tmp_path / "bad.nii.gz"
    nib.save(nib.Nifti1Image(np.full((4, 4, 4), np.nan, np.float32), np.eye(4)), bad)
    cases = [
        replace(case, images={"T1": bad}, label=None) if number < 2 else case
        for number, case in enumerate(cohort.cases)
    ]
    with pytest.raises(Problems) as found:
        build_store(cohort, cases, PLAN, cache)
    assert len(found.value.lines) == 2
    assert str(bad) in str(found.value)
    done = [path for path in (cache / "small" / "cases").iterdir() if (path / "meta.json").exists()]
    assert len(done) == 4
    assert not list((cache / "small").rglob(".tmp-*"))


def test_asking_for_nothing_or_twice_is_refused(cohort, cache):
    with pytest.raises(UserError, match="no case"):
        build_store(cohort, [], PLAN, cache)
    with pytest.raises(UserError, match="occurs twice"):
        build_store(cohort, [cohort.cases[0]] * 2, PLAN, cache)


def test_a_cache_that_cannot_be_written_is_said(cohort, tmp_path):
    (tmp_path / "cache").write_text("a file, not a folder")
    with pytest.raises(UserError, match="cannot be written"):
        build(cohort, tmp_path / "cache")


def test_no_file_stays_open(cohort, cache):
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("needs /proc")
    store = build(cohort, cache)
    before = len(os.listdir("/proc/self/fd"))
    for case in list(store.cases.values()) * 5:
        assert case.image[0, 0, 0, 0] is not None
        assert case.foreground
    assert len(os.listdir("/proc/self/fd")) == before


BUILDER = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from small_cohort import on_disk
from test_store import PLAN, build
cohort = on_disk(Path(sys.argv[2]), cases=6, shape=(60, 60, 40), write=False)
build(cohort, Path(sys.argv[3]), workers=int(sys.argv[4]))
print("built")
"""


def start(root: Path, workers: int = 1) -> subprocess.Popen[str]:
    here = str(Path(__file__).parent)
    command = [sys.executable, "-c", BUILDER, here, str(root / "cohort"), str(root / "cache"), str(workers)]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def test_kills_leave_nothing_half_made(tmp_path):
    cohort = on_disk(tmp_path / "cohort", cases=6, shape=(60, 60, 40))
    reference = contents(build(cohort, tmp_path / "reference"))
    cases = tmp_path / "cache" / "small" / "cases"
    kills = 0
    for kill in range(8):
        process = start(tmp_path)
        try:
            limit = time.monotonic() + 60
            while process.poll() is None and time.monotonic() < limit:
                try:
                    begun = list(cases.glob(".tmp-*/*"))
                except FileNotFoundError:  # a case was finished while it was listed
                    continue
                if len(begun) >= 1 + kill % 3:  # in the middle of a case
                    os.killpg(process.pid, signal.SIGKILL)
                    kills += 1
                    break
                time.sleep(0.0005)
        finally:
            process.wait()
            if process.stdout:
                process.stdout.close()
        for folder in cases.glob("case*"):
            meta = json.loads((folder / "meta.json").read_text())
            for name, facts in meta["arrays"].items():
                assert file_hash(folder / f"{name}.npy") == facts["sha256"]
    assert kills >= 3
    assert contents(build(cohort, tmp_path / "cache")) == reference
    assert not list(cases.glob(".tmp-*"))


def test_two_processes_build_one_store(tmp_path):
    cohort = on_disk(tmp_path / "cohort", cases=6, shape=(60, 60, 40))
    processes = [start(tmp_path), start(tmp_path, workers=2)]
    assert [process.communicate(timeout=120)[0].strip() for process in processes] == ["built", "built"]
    assert [process.returncode for process in processes] == [0, 0]
    store = build(cohort, tmp_path / "cache")
    assert store.damaged() == []
    assert len(list((tmp_path / "cache" / "small" / "cases").iterdir())) == 6


def test_a_file_that_changes_while_it_is_read_is_not_stored(cohort, cache):
    case = cohort.cases[0]
    stamps = {str(path): (1, 1) for path in case.files}
    with pytest.raises(UserError, match="changed while it was read"):
        build_case((case, Recipe(cache / "cases" / "x", "key", stamps)), PLAN, cohort.labels)
    assert not cache.exists()


def test_hashes_are_remembered_but_never_stale(tmp_path):
    scan, memory = tmp_path / "scan.raw", tmp_path / "memory.json"
    scan.write_bytes(b"one")
    os.utime(scan, ns=(10**18, 10**18))
    hashes = SourceHashes(memory)
    hashes.learn([scan], 2)
    hashes.save()
    assert SourceHashes(memory).known == {str(scan): (3, 10**18, file_hash(scan))}
    scan.write_bytes(b"two")
    assert SourceHashes(memory).of(scan) == file_hash(scan)
    header = tmp_path / "scan.mhd"
    header.write_text("NDims = 3\nElementDataFile = scan.raw\n")
    first = SourceHashes(memory).of(header)
    scan.write_bytes(b"three")
    assert SourceHashes(memory).of(header) != first
    memory.write_text("broken")
    assert SourceHashes(memory).known == {}
    with pytest.raises(UserError, match="restore the file"):
        SourceHashes(memory).learn([tmp_path / "gone"], 1)
