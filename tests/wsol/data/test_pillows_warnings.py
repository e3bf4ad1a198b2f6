"""Pillow's own warnings of strange pictures are no output of ours."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

from PIL import Image


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def broken_exif() -> bytes:
    """A JPEG whose EXIF data point behind their end."""
    entry = struct.pack("<HHLL", 0x010F, 2, 40, 5000)
    return saved(Image.new("RGB", (48, 32)), "JPEG", exif=b"Exif\x00\x00II*\x00" + struct.pack("<LH", 8, 1) + entry)


def clear_palette() -> bytes:
    return saved(Image.effect_noise((48, 32), 64).convert("P"), "PNG", transparency=bytes(range(200)))


def large() -> bytes:
    """Of more pixels than Pillow takes for harmless, in few bytes."""
    return saved(Image.new("1", (10000, 9000)), "PNG")


def test_pillows_warnings_reach_nobody(tmp_path: Path) -> None:
    """Also of a process that shows all of them, in threads; without our decoding Pillow warns of each of these."""
    for name, content in (("exif.jpg", broken_exif()), ("clear.png", clear_palette()), ("large.png", large())):
        (tmp_path / name).write_bytes(content)
    start = "import sys\nfrom pathlib import Path\npaths = sorted(Path(sys.argv[1]).iterdir())\n"
    theirs = """
from PIL import Image
for path in paths:
    with Image.open(path) as image:
        image.getexif(), image.convert("RGB")
"""
    ours = """
from concurrent.futures import ThreadPoolExecutor
from wsol.data import decoding
def read(path):
    with decoding.opened(path) as image:
        decoding.square(image, 8, displayed=True)
with ThreadPoolExecutor(3) as pool:
    list(pool.map(read, paths))
"""
    told = [
        subprocess.run(
            [sys.executable, "-W", "default", "-c", start + code, str(tmp_path)],
            capture_output=True,
            text=True,
            check=True,
        ).stderr
        for code in (theirs, ours)
    ]
    assert all(word in told[0] for word in ("EXIF", "Palette images", "DecompressionBombWarning"))
    assert told[1] == ""
