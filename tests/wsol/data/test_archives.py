"""Archives of strangers: plain files below the target, or one line."""

from __future__ import annotations

import io
import random
import re
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.damage import damaged
from tests.support.small_archives import picture, quiet
from wsol.data import archives
from wsol.data.staging import staged
from wsol.datasets import folder
from wsol.errors import InputError

INSIDE = {"a/1.jpg": picture(), "a/b/2.jpg": picture((9, 9)), "3.txt": b"text" * 400}


def tar_of(path: Path, *members: tuple[str, bytes | str], kind: bytes = tarfile.REGTYPE, mode: str = "w") -> Path:
    """Files by their bytes; of links, the text is what they point to."""
    with tarfile.open(path, mode) as opened:  # type: ignore[call-overload]
        for name, content in members:
            member = tarfile.TarInfo(name)
            if isinstance(content, str):
                member.type, member.linkname = kind, content
                opened.addfile(member)
            else:
                member.size = len(content)
                opened.addfile(member, io.BytesIO(content))
    return path


def zip_of(path: Path, *members: tuple[str | zipfile.ZipInfo, bytes], **options: Any) -> Path:
    with zipfile.ZipFile(path, "w", **options) as opened:
        for name, content in members:
            opened.writestr(name, content)
    return path


def zip_link(path: Path) -> Path:
    info = zipfile.ZipInfo("a/link")
    info.create_system, info.external_attr = 3, 0o120777 << 16
    return zip_of(path, (info, b"/etc"))


def changed(path: Path, old: bytes, new: bytes) -> Path:
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new))
    return path


def encrypted(path: Path) -> Path:
    """The flag that says so, in both headers."""
    content = bytearray(zip_of(path, ("1.jpg", picture())).read_bytes())
    content[6] |= 1
    content[content.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(content)
    return path


def unknown_compression(path: Path) -> Path:
    content = bytearray(zip_of(path, ("1.jpg", picture())).read_bytes())
    content[8] = content[content.index(b"PK\1\2") + 10] = 97
    path.write_bytes(content)
    return path


def declared(path: Path, size: int) -> Path:
    """A zip file that says another size than it has."""
    content = bytearray(zip_of(path, ("1.jpg", picture())).read_bytes())
    place = content.index(b"PK\1\2") + 24
    content[place : place + 4] = size.to_bytes(4, "little")
    path.write_bytes(content)
    return path


def bomb(path: Path) -> Path:
    return zip_of(path, ("1.bmp", bytes(2 * 10**8)), compression=zipfile.ZIP_DEFLATED)


def ended_between_members(path: Path) -> Path:
    tar_of(path, *INSIDE.items())
    with tarfile.open(path) as opened:
        second = opened.getmembers()[1].offset
    path.write_bytes(path.read_bytes()[:second])
    return path


def broken_second_header(path: Path) -> Path:
    tar_of(path, *INSIDE.items())
    with tarfile.open(path) as opened:
        second = opened.getmembers()[1].offset
    content = bytearray(path.read_bytes())
    content[second + 150] ^= 255
    path.write_bytes(content)
    return path


LINK, NAME = "a link; data sets are made of plain files", "no path inside of it, with /; data sets"
HARMFUL: dict[str, tuple[Callable[[Path], Path], str]] = {
    "tar ..": (lambda path: tar_of(path, ("../out", b"x")), NAME),
    "tar a/../../out": (lambda path: tar_of(path, ("a/../../out", b"x")), NAME),
    "tar absolute": (lambda path: tar_of(path, ("/tmp/out", b"x")), "an absolute path"),
    "tar backslash": (lambda path: tar_of(path, ("a\\1.jpg", b"x")), NAME),
    "tar link": (lambda path: tar_of(path, ("link", "../outside"), kind=tarfile.SYMTYPE), LINK),
    "tar link and a file through it": (
        lambda path: tar_of(path, ("link", "../outside"), ("link/out", b"x"), kind=tarfile.SYMTYPE),
        LINK,
    ),
    "tar hard link": (lambda path: tar_of(path, ("link", "../outside/kept"), kind=tarfile.LNKTYPE), LINK),
    "tar long links": (
        lambda path: tar_of(
            path,
            ("d" * 200, "d/" * 2000),
            (
                "e",
                ("d" * 200) + "/../..",
            ),
            kind=tarfile.SYMTYPE,
        ),
        LINK,
    ),
    "tar fifo": (lambda path: tar_of(path, ("pipe", ""), kind=tarfile.FIFOTYPE), "no plain file"),
    "tar device": (lambda path: tar_of(path, ("zero", ""), kind=tarfile.CHRTYPE), "no plain file"),
    "tar file in a file": (lambda path: tar_of(path, ("a", b"x"), ("a/b", b"x")), "cannot be unpacked"),
    "tar long name": (lambda path: tar_of(path, ("n" * 300, b"x")), "File name too long"),
    "tar ended between members": (ended_between_members, "the end is missing"),
    "tar broken header": (broken_second_header, "the end is missing: "),
    "zip ..": (lambda path: zip_of(path, ("../out", b"x")), NAME),
    "zip absolute": (lambda path: zip_of(path, ("/tmp/out", b"x")), "an absolute path"),
    "zip backslash": (lambda path: zip_of(path, ("a\\..\\out", b"x")), NAME),
    "zip link": (zip_link, LINK),
    "zip encrypted": (encrypted, "encrypted"),
    "zip unknown compression": (unknown_compression, "compression method"),
    "zip wrong checksum": (lambda path: changed(zip_of(path, ("1", b"abcdef")), b"abcdef", b"abcdeg"), "Bad CRC"),
    "zip says less": (lambda path: declared(path, 9), "Bad CRC"),
    "zip says more": (lambda path: declared(path, 10**5), "instead of the 100000 that are announced"),
    "zip says too much": (lambda path: declared(path, 2**32 - 2), "would grow from"),
    "zip bomb": (bomb, "would grow from .* to 200,000,000 bytes"),
    "text": (lambda path: path.write_text("<html>") and path, "cannot be unpacked"),  # type: ignore[dict-item]
    "nothing": (lambda path: path.write_bytes(b"") or path, "cannot be unpacked"),  # type: ignore[dict-item]
}


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A folder beside one that must stay as it is."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "kept").write_text("kept")
    return tmp_path / "target"


def outside(target: Path) -> dict[str, bytes]:
    """What is beside the target, apart from the archive."""
    return {
        str(path): path.read_bytes()
        for path in target.parent.rglob("*")
        if path.is_file() and not path.is_relative_to(target) and path.name != "archive"
    }


@pytest.mark.parametrize("kind", HARMFUL)
def test_harmful_and_damaged_archives_are_one_line(kind: str, target: Path) -> None:
    make, expected = HARMFUL[kind]
    path, before = make(target.parent / "archive"), outside(target)
    with pytest.raises(InputError) as caught:
        archives.unpack(path, target, quiet)
    message = str(caught.value)
    assert re.search(expected, message) and "\n" not in message and str(path) in message, message
    assert outside(target) == before and not Path("/tmp/out").exists()
    assert not [path for path in target.rglob("*") if path.is_symlink() or path.stat().st_size > 10**6]


@pytest.mark.parametrize("mode", ["zip", "w", "w:gz", "w:xz", "w:bz2"])
def test_whole_archives_are_unpacked_as_they_are(mode: str, target: Path) -> None:
    path = target.parent / "archive"
    if mode == "zip":
        zip_of(path, *INSIDE.items())
    else:
        tar_of(path, *((f"./{name}", content) for name, content in INSIDE.items()), mode=mode)
    archives.unpack(path, target, quiet)
    found = {str(path.relative_to(target)): path.read_bytes() for path in target.rglob("*") if path.is_file()}
    assert found == INSIDE


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_what_does_not_fit_on_the_disk_is_not_begun(kind: str, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = target.parent / "archive"
    zip_of(path, *INSIDE.items()) if kind == "zip" else tar_of(path, *INSIDE.items())
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    with pytest.raises(InputError, match=r"archive: needs 0\.0 GB, 0\.0 GB are free in .*target"):
        archives.unpack(path, target, quiet)
    assert not list(target.iterdir())


def test_a_planted_link_at_a_temporary_name_is_not_followed(target: Path) -> None:
    target.mkdir()
    (target / ".1.part").symlink_to(target.parent / "outside" / "kept")
    archives.unpack(zip_of(target.parent / "archive", ("1", b"new")), target, quiet)
    assert (target / "1").read_bytes() == b"new" and (target.parent / "outside" / "kept").read_text() == "kept"


def test_links_to_folders_of_a_source_are_followed_and_end(tmp_path: Path) -> None:
    (tmp_path / "elsewhere" / "deep").mkdir(parents=True)
    (tmp_path / "elsewhere" / "deep" / "1.jpg").write_bytes(picture())
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "images").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "round").symlink_to(tmp_path / "source")
    assert [name for name, _ in archives.members(tmp_path / "source")] == ["images/deep/1.jpg"]


@pytest.mark.parametrize("kind", [kind for kind in HARMFUL if kind.startswith("tar")])
def test_a_staged_archive_is_refused_alike(kind: str, target: Path) -> None:
    make, _ = HARMFUL[kind]
    path, before = make(target.parent / "archive"), outside(target)
    path.rename(target.parent / "archive.tar")
    config = folder.Config(root=str(target.parent / "archive.tar"), stage=str(target), images="a", metadata="b")
    with pytest.raises(InputError) as caught:
        staged(config)
    assert "\n" not in str(caught.value) and "archive" in str(caught.value)
    kept = {name: text for name, text in outside(target).items() if "archive.tar" not in name}
    assert kept == before and not [path for path in target.glob("*") if path.is_dir() and path.suffix != ".part"]


@pytest.mark.parametrize("kind", ["zip", "deflated zip", "tar", "tar.gz"])
def test_hundreds_of_damaged_archives(kind: str, target: Path) -> None:
    """Bytes flipped, cut out, doubled: each is unpacked below the target or refused in one line."""
    path, draw = target.parent / "archive", random.Random(kind)
    if "zip" in kind:
        compression = zipfile.ZIP_DEFLATED if "deflated" in kind else zipfile.ZIP_STORED
        zip_of(path, *INSIDE.items(), compression=compression)
    else:
        tar_of(path, *INSIDE.items(), mode="w:gz" if "gz" in kind else "w")
    whole, before, refused = path.read_bytes(), outside(target), 0
    for number in range(150):
        path.write_bytes(damaged(whole, draw))
        try:
            archives.unpack(path, target / str(number), quiet)
        except InputError as error:
            refused += 1
            assert "\n" not in str(error)
    assert outside(target) == before and refused > 30
    assert not [path for path in target.rglob("*") if path.is_symlink()]


def test_a_file_gets_its_name_when_it_is_whole_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "images" / "1.jpg"

    def refuse(part: Path) -> None:
        assert part.read_bytes() == b"whole" and part != path
        raise InputError("another file")

    for former in (None, b"former"):
        if former is not None:
            path.write_bytes(former)
        with pytest.raises(EOFError, match="4 bytes instead of the 9"):
            archives.put(lambda: io.BytesIO(b"half"), 9, path)
        with pytest.raises(InputError, match="another file"):
            archives.put(lambda: io.BytesIO(b"whole"), 5, path, refuse)
        assert (path.read_bytes() if path.exists() else None) == former
    archives.put(lambda: io.BytesIO(b"whole"), 5, path)
    assert path.read_bytes() == b"whole"
