"""Recognises files that were given as a checkpoint but are something else, by their first bytes."""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path

from wsol.errors import listed

HEAD = 512
"""Number of bytes that are read."""

COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\0": "xz", b"7z\xbc\xaf\x27\x1c": "7z", b"Rar!": "rar"}
OTHERS = {b"\x89HDF\r\n\x1a\n": "an HDF5 file, as Keras writes them", b"\x93NUMPY": "a NumPy array"}
PAGES = (b"<!doctype", b"<html", b"<head", b"<?xml")
POINTER = b"version https://git-lfs.github.com/spec/"

OLDEST = {"sys_info", "pickle", "storages"}
"""The names in the tar archives of the first format of torch.save."""


def stranger(path: Path) -> str | None:
    """What a file is that holds no weights of `torch.save` or safetensors, and what to do with it; None if it may hold
    some.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(HEAD)
    if not head:
        return "empty; download it again"
    if head.lstrip().lower().startswith(PAGES):
        return "a web page, such as a login or the question before a download; download it again, in a browser"
    if head.startswith(POINTER):
        return "a pointer of Git LFS to the weights: run `git lfs pull` in its repository, or download it again"
    for magic, name in COMPRESSED.items():
        if head.startswith(magic):
            return f"compressed with {name}; unpack it"
    for magic, name in OTHERS.items():
        if head.startswith(magic):
            return f"{name}; save the network's state_dict() with torch.save"
    return _archive(path) or _text(head)


def is_safetensors(path: Path) -> bool:
    """Whether a file begins as safetensors do: the length of a JSON object, and that object."""
    with path.open("rb") as file:
        head = file.read(9)
    return head[8:] == b"{" and int.from_bytes(head[:8], "little") + 8 <= path.stat().st_size


def _archive(path: Path) -> str | None:
    if zipfile.is_zipfile(path):
        return _zip(path)
    if not tarfile.is_tarfile(path):
        return None
    with tarfile.open(path) as archive:
        names = archive.getnames()
    if not names:
        return "full of zeros; download it again"
    if set(names) >= OLDEST:
        return "in the oldest format of torch.save: load it with the PyTorch that wrote it, and save it again"
    return f"a tar archive of {listed(names)}; unpack it and give the file with the weights"


def _zip(path: Path) -> str | None:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    inside = {name.rpartition("/")[2] for name in names}
    if "constants.pkl" in inside:
        return "a TorchScript program: torch.save(torch.jit.load(file).state_dict(), 'weights.pt') makes weights of it"
    if "data.pkl" in inside:
        return None
    return f"a zip archive of {listed(names)}; unpack it and give the file with the weights"


def _text(head: bytes) -> str | None:
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # else the last letter was cut
            return None
        text = head[: error.start].decode()
    if not all(letter.isprintable() or letter.isspace() for letter in text):
        return None
    return f"text that begins with {text.strip()[:40]!r}; download it again"
