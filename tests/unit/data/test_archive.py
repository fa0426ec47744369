"""Archives from strangers: bombs, links, paths that leave, headers that lie. Nothing of them is written."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import stat
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.data.archive import Limits, extract
from medseg.errors import UserError

TarEntry = tuple[tarfile.TarInfo, bytes]


def entry(name: str, content: bytes = b"x", **fields: object) -> TarEntry:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in fields.items():
        setattr(info, key, value)
    return info, content


def tar(path: Path, *entries: TarEntry, compress: Callable[[bytes], bytes] = bytes) -> Path:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for info, content in entries:
            archive.addfile(info, io.BytesIO(content))
    path.write_bytes(compress(target.getvalue()))
    return path


def refused(archive: Path, match: str, limits: Limits | None = None) -> None:
    """It is refused, and nothing is written anywhere near."""
    before = sorted(archive.parent.rglob("*"))
    with pytest.raises(UserError, match=match):
        extract(archive, archive.parent / "out", limits)
    assert sorted(archive.parent.rglob("*")) == before


@pytest.mark.parametrize("compress", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_every_kind_of_tar_is_unpacked(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    folder, _ = entry("set/empty", b"", type=tarfile.DIRTYPE)
    archive = tar(
        tmp_path / "a",
        entry("set/a.nii", b"abc", mode=0o6777),
        (folder, b""),
        entry("set/._a", b"litter"),
        compress=compress,
    )
    extract(archive, tmp_path / "out")
    assert (tmp_path / "out/set/a.nii").read_bytes() == b"abc"
    assert (tmp_path / "out/set/empty").is_dir()
    assert not (tmp_path / "out/set/._a").exists()
    assert not (tmp_path / "out/set/a.nii").stat().st_mode & (stat.S_ISUID | stat.S_ISGID | stat.S_IXUSR)


def test_a_zip_is_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("set/a.nii", b"abc" * 1000)
        archive.writestr("__MACOSX/set/a.nii", b"litter")
        archive.mkdir("set/empty")
    extract(tmp_path / "a.zip", tmp_path / "out")
    assert (tmp_path / "out/set/a.nii").read_bytes() == b"abc" * 1000
    assert (tmp_path / "out/set/empty").is_dir()
    assert not (tmp_path / "out/__MACOSX").exists()


UNSAFE = ["/etc/evil", "../evil", "a/../../evil", "..\\evil", "C:\\evil", "C:evil", "\\\\host\\evil"]


@pytest.mark.parametrize("name", UNSAFE)
def test_paths_that_leave_are_refused(tmp_path: Path, name: str) -> None:
    refused(tar(tmp_path / "a.tar", entry("good"), entry(name)), "unsafe path")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("good", b"x")
        archive.writestr(name, b"x")
    refused(tmp_path / "a.zip", "unsafe path")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
@pytest.mark.parametrize("to", ["/etc/passwd", "../../x", "inside"])
def test_links_are_refused(tmp_path: Path, kind: bytes, to: str) -> None:
    refused(tar(tmp_path / "a.tar", entry("link", b"", type=kind, linkname=to), entry("link/x")), "link")


def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(info, "/etc")
    refused(tmp_path / "a.zip", "link")


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_devices_and_pipes_are_refused(tmp_path: Path, kind: bytes) -> None:
    refused(tar(tmp_path / "a.tar", entry("device", b"", type=kind)), "device or pipe")


def test_the_same_path_twice_is_refused(tmp_path: Path) -> None:
    refused(tar(tmp_path / "a.tar", entry("a/b"), entry("a/./b", b"other")), "twice")


def test_a_zip_bomb_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(3):
            archive.writestr(f"{number}.nii", bytes(120 << 20))
    assert (tmp_path / "a.zip").stat().st_size < 1 << 20
    refused(tmp_path / "a.zip", "unpacks to more than 256 MiB")


def test_a_zip_that_lies_about_its_size_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.nii", bytes(1 << 20))
    honest = (1 << 20).to_bytes(4, "little")
    (tmp_path / "a.zip").write_bytes(
        (tmp_path / "a.zip").read_bytes().replace(honest, (9).to_bytes(4, "little"))
    )
    refused(tmp_path / "a.zip", "longer than it says|cannot be unpacked")


def test_a_gzipped_tar_bomb_is_refused_before_it_is_inflated(tmp_path: Path) -> None:
    info, _ = entry("big.nii")
    info.size = 1 << 40
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(info.tobuf() + bytes(1 << 20)))
    refused(tmp_path / "a.tar.gz", "unpacks to more than")


def test_a_bomb_in_a_tars_extended_header_takes_no_memory(tmp_path: Path) -> None:
    info, _ = entry("header", b"", type=tarfile.XHDTYPE)
    info.size = 300 << 20
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(info.tobuf() + bytes(info.size), 1))
    tracemalloc.start()
    refused(tmp_path / "a.tar.gz", "has a header of")
    assert tracemalloc.get_traced_memory()[1] < 64 << 20
    tracemalloc.stop()


def test_too_many_members_are_refused(tmp_path: Path) -> None:
    archive = tar(tmp_path / "a.tar", *(entry(f"{number}", b"") for number in range(30)))
    refused(archive, "more than 20 members", Limits(members=20))


def test_an_encrypted_zip_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a", b"x")
    content = bytearray((tmp_path / "a.zip").read_bytes())
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "a.zip").write_bytes(content)
    refused(tmp_path / "a.zip", "encrypted")


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    for content in (b"", b"<html>not found</html>", b"\x1f\x8bnonsense", b"PK\x03\x04nonsense"):
        (tmp_path / "a").write_bytes(content)
        refused(tmp_path / "a", "cannot be unpacked|holds no files")


@settings(deadline=None, max_examples=40)
@given(cut=st.integers(1, 3_000), data=st.data())
def test_a_truncated_archive_leaves_nothing(
    tmp_path_factory: pytest.TempPathFactory, cut: int, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    compress = data.draw(st.sampled_from([bytes, gzip.compress, lzma.compress]))
    noise = bytes(range(256)) * 8
    whole = tar(folder / "a", entry("a", noise), entry("b", noise[::-1]), compress=compress).read_bytes()
    # What a tar is padded with may be missing without harm.
    useful = len(whole) if compress is not bytes else 2 * (512 + len(noise))
    (folder / "a").write_bytes(whole[: max(0, useful - cut)])
    with pytest.raises(UserError):
        extract(folder / "a", folder / "out")
    assert [path.name for path in folder.iterdir()] == ["a"]
