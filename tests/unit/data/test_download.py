"""Fetching from a real server that breaks off, changes its file and lies; checking; and saying what to do."""

from __future__ import annotations

import hashlib
import io
import json
import socket
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_server import Site, serving

from medseg.data.download import download
from medseg.data.fetch import Patience, fetch
from medseg.data.settings import DataSettings
from medseg.data.source_settings import SourceSettings
from medseg.errors import Problems, UserError

QUICK = Patience(attempts=3, pause=0.0)
BYTES = np.random.Generator(np.random.Philox(0)).bytes(3_000_000)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")


def quiet(done: int, total: int | None) -> None:
    assert total is None or done <= total


def tar_of(files: dict[str, bytes]) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return target.getvalue()


ARCHIVE = tar_of({"Task/dataset.json": b"{}", "Task/imagesTr/a.nii.gz": b"scan", "Task/._litter": b"x"})


def settings(**source: Any) -> DataSettings:
    told = {"page": "https://example.org/set", "licence": "CC0", "cite": "A et al.", **source}
    return DataSettings(name="task", source=told)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


# One file


def test_a_file_arrives_whole(tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    with serving(Site(BYTES)) as address:
        fetch(f"{address}/a.tar", tmp_path / "a.tar", progress=lambda *now: seen.append(now))
    assert (tmp_path / "a.tar").read_bytes() == BYTES
    assert seen[-1] == (len(BYTES), len(BYTES))
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar"]


def test_it_goes_on_where_the_connection_broke(tmp_path: Path) -> None:
    site = Site(BYTES, break_after=[1_000_000, 700_000])
    with serving(site) as address:
        fetch(f"{address}/a.tar", tmp_path / "a.tar", progress=quiet, patience=QUICK)
    assert (tmp_path / "a.tar").read_bytes() == BYTES
    assert [request.get("Range") for request in site.requests] == [None, "bytes=1000000-", "bytes=1700000-"]
    assert all(request["If-Range"] == '"one"' for request in site.requests[1:])


def test_a_second_call_goes_on_from_the_part_of_the_first(tmp_path: Path) -> None:
    site = Site(BYTES, break_after=[1_200_000, 0, 0, 0])
    with serving(site) as address:
        with pytest.raises(UserError, match="1,200,000 of 3,000,000"):
            fetch(f"{address}/a.tar", tmp_path / "a.tar", progress=quiet, patience=QUICK)
        assert not (tmp_path / "a.tar").exists()
        site.break_after.clear()
        fetch(f"{address}/a.tar", tmp_path / "a.tar", progress=quiet, patience=QUICK)
    assert site.requests[-1]["Range"] == "bytes=1200000-"
    assert (tmp_path / "a.tar").read_bytes() == BYTES


def test_a_changed_file_is_fetched_from_its_start(tmp_path: Path) -> None:
    site = Site(BYTES, break_after=[1_000_000, 0, 0])
    other = BYTES[::-1]
    with serving(site) as address:
        with pytest.raises(UserError):
            fetch(f"{address}/a.tar", tmp_path / "a.tar", progress=quiet, patience=QUICK)
        site.content, site.etag = other, '"two"'
        site.break_after.clear()
        fetch(f"{address}/a.tar", tmp_path / "a.tar", progress=quiet, patience=QUICK)
    assert (tmp_path / "a.tar").read_bytes() == other


@pytest.mark.parametrize("fault", [{"etag": None}, {"etag": 'W/"weak"'}, {"ranges": False}])
def test_without_proof_or_ranges_it_starts_again(tmp_path: Path, fault: dict[str, Any]) -> None:
    site = Site(BYTES, break_after=[1_000_000], **fault)
    with serving(site) as address:
        fetch(f"{address}/a.tar", tmp_path / "a.tar", progress=quiet, patience=QUICK)
    assert (tmp_path / "a.tar").read_bytes() == BYTES


def test_a_part_that_is_whole_needs_no_request(tmp_path: Path) -> None:
    site = Site(BYTES)
    with serving(site) as address:
        url = f"{address}/a.tar"
        (tmp_path / "a.tar.part").write_bytes(BYTES)
        note = {"url": url, "validator": '"one"', "total": len(BYTES)}
        (tmp_path / "a.tar.part.json").write_text(json.dumps(note))
        fetch(url, tmp_path / "a.tar", progress=quiet, patience=QUICK)
    assert site.requests == []
    assert (tmp_path / "a.tar").read_bytes() == BYTES


def test_a_part_longer_than_the_file_is_thrown_away(tmp_path: Path) -> None:
    with serving(Site(BYTES)) as address:
        url = f"{address}/a.tar"
        (tmp_path / "a.tar.part").write_bytes(BYTES + b"more")
        note = {"url": url, "validator": '"one"', "total": None}
        (tmp_path / "a.tar.part.json").write_text(json.dumps(note))
        fetch(url, tmp_path / "a.tar", progress=quiet, patience=QUICK)
    assert (tmp_path / "a.tar").read_bytes() == BYTES


def test_passing_faults_are_waited_out(tmp_path: Path) -> None:
    site = Site(BYTES, statuses=[503, 429])
    with serving(site) as address:
        fetch(f"{address}/a.tar", tmp_path / "a.tar", progress=quiet, patience=QUICK)
    assert len(site.requests) == 3


def test_a_refusal_is_final(tmp_path: Path) -> None:
    site = Site(BYTES, statuses=[404, 404])
    with serving(site) as address, pytest.raises(UserError, match="404"):
        fetch(f"{address}/a.tar", tmp_path / "a.tar", progress=quiet, patience=QUICK)
    assert len(site.requests) == 1


def test_another_size_than_expected_is_refused_before_it_comes(tmp_path: Path) -> None:
    with serving(Site(BYTES)) as address, pytest.raises(UserError, match="3,000,000 bytes where 5 "):
        fetch(f"{address}/a.tar", tmp_path / "a.tar", size=5, progress=quiet, patience=QUICK)
    assert list(tmp_path.iterdir()) == []


def test_a_file_larger_than_the_disk_is_refused_before_it_comes(tmp_path: Path) -> None:
    with serving(Site(b"x", announce=10**17)) as address, pytest.raises(UserError, match="GiB are free"):
        fetch(f"{address}/a.tar", tmp_path / "a.tar", progress=quiet, patience=QUICK)


def test_a_redirect_to_a_local_file_is_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    with serving(Site(b"", redirect=secret.as_uri())) as address, pytest.raises(UserError):
        fetch(f"{address}/a.tar", tmp_path / "a.tar", progress=quiet, patience=QUICK)
    assert not (tmp_path / "a.tar").exists()


# A data set


def test_a_set_is_fetched_checked_and_unpacked(tmp_path: Path) -> None:
    with serving(Site(ARCHIVE)) as address:
        told = settings(url=f"{address}/Task.tar", sha256=sha256(ARCHIVE).upper(), folder="Task")
        root = download(told, tmp_path, patience=QUICK)
    assert root == tmp_path / "task"
    files = sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
    assert files == ["dataset.json", "imagesTr/a.nii.gz"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["task", "task.source.json"]
    receipt = json.loads((tmp_path / "task.source.json").read_text())
    assert receipt["sha256"] == sha256(ARCHIVE)
    assert receipt["size"] == len(ARCHIVE)
    assert receipt["licence"] == "CC0"


def test_a_set_that_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "task").mkdir()
    (tmp_path / "task" / "mine").touch()
    assert download(settings(url="http://127.0.0.1:9/x.tar", md5="0" * 32), tmp_path) == tmp_path / "task"


def test_md5_is_enough_where_nothing_else_is_published(tmp_path: Path) -> None:
    md5 = hashlib.md5(ARCHIVE, usedforsecurity=False).hexdigest()
    with serving(Site(ARCHIVE)) as address:
        root = download(settings(url=f"{address}/Task.tar", md5=md5), tmp_path, patience=QUICK)
    assert (root / "dataset.json").is_file()  # the archive's only folder is the set


@pytest.mark.parametrize("kind", ["sha256", "md5"])
def test_a_wrong_checksum_leaves_nothing(tmp_path: Path, kind: str) -> None:
    wrong = {"sha256": "0" * 64, "md5": "0" * 32}[kind]
    with serving(Site(ARCHIVE)) as address, pytest.raises(UserError, match=f"its {kind} is .* removed"):
        download(settings(url=f"{address}/Task.tar", **{kind: wrong}), tmp_path, patience=QUICK)
    assert list(tmp_path.iterdir()) == []


def test_without_a_checksum_nothing_is_fetched_unless_told(tmp_path: Path) -> None:
    site = Site(ARCHIVE)
    with serving(site) as address:
        with pytest.raises(UserError, match=r"cannot be verified.*data\.source\.trust=true"):
            download(settings(url=f"{address}/Task.tar"), tmp_path, patience=QUICK)
        assert site.requests == []
        root = download(settings(url=f"{address}/Task.tar", trust=True), tmp_path, patience=QUICK)
    assert root.is_dir()


def test_what_was_trusted_once_must_stay_the_same(tmp_path: Path) -> None:
    import shutil

    site = Site(ARCHIVE)
    with serving(site) as address:
        told = settings(url=f"{address}/Task.tar", trust=True)
        shutil.rmtree(download(told, tmp_path, patience=QUICK))
        site.content = tar_of({"Task/other": b"other"})
        with pytest.raises(UserError, match="its sha256 is"):
            download(told, tmp_path, patience=QUICK)
    assert not (tmp_path / "task").exists()


def test_offline_it_says_what_to_put_where(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/Task.tar"
    with pytest.raises(UserError) as caught:
        download(settings(url=url, md5="0" * 32, instructions="ask nicely."), tmp_path, patience=QUICK)
    text = str(caught.value)
    for part in (
        url,
        str(tmp_path / "Task.tar"),
        "https://example.org/set",
        "data.root=FOLDER",
        "ask nicely",
    ):
        assert part in text
    assert "\n" not in text


def test_an_archive_put_there_by_hand_is_used(tmp_path: Path) -> None:
    (tmp_path / "Task.tar").write_bytes(ARCHIVE)
    told = settings(url="http://127.0.0.1:9/Task.tar", sha256=sha256(ARCHIVE))
    assert (download(told, tmp_path, patience=QUICK) / "dataset.json").is_file()


def test_a_set_behind_a_registration_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"register at X.*example\.org.*data=task data\.root=FOLDER"):
        download(settings(instructions="register at X"), tmp_path)


def test_a_folder_the_archive_lacks_is_named(tmp_path: Path) -> None:
    (tmp_path / "Task.tar").write_bytes(ARCHIVE)
    told = settings(url="http://127.0.0.1:9/Task.tar", sha256=sha256(ARCHIVE), folder="Task99")
    with pytest.raises(UserError, match=r"no folder 'Task99' \(it has Task\)"):
        download(told, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["Task.tar"]


def test_an_unsafe_archive_is_not_unpacked(tmp_path: Path) -> None:
    content = tar_of({"Task/a": b"a", "../evil": b"evil"})
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "Task.tar").write_bytes(content)
    told = settings(url="http://127.0.0.1:9/Task.tar", sha256=sha256(content))
    with pytest.raises(UserError, match="unsafe path"):
        download(told, tmp_path / "in")
    assert [path.name for path in tmp_path.rglob("*")] == ["in", "Task.tar"]


def test_all_wrong_source_settings_are_named_at_once() -> None:
    with pytest.raises(Problems) as caught:
        SourceSettings.parse({"urll": "x", "size": "big", "trust": 1})
    assert len(caught.value.lines) == 3
    with pytest.raises(Problems) as caught:
        SourceSettings.parse({"url": "ftp://a/b", "md5": "12", "sha256": "xy", "size": 0, "folder": "../x"})
    assert len(caught.value.lines) == 5
