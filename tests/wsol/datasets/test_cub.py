"""CUB with small objects."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.faked_trees import (
    fake,
    images_of,
    patterned,
    put,
)
from tests.support.tiny import Launch
from wsol import build
from wsol.data import metadata
from wsol.datasets import cub


def test_cub_with_small_objects(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    faked = fake("CUB", monkeypatch)
    names = [f"{k + 1:03}.Bird_{k + 1}/9{k:09}.jpg" for k in range(3)]
    small = patterned("small", names, kind="boxes")
    monkeypatch.setitem(cub.COUNTS, "small", {"images": 3, "boxes": 3})
    monkeypatch.setitem(cub.COUNTS, "test_and_small", {"images": 23, "boxes": 23})
    metadata.write(Path("source/metadata/CUB/small"), small)
    code, _, err = faked.prepare(launch, "test_images=both")
    assert (
        code == 2 and "CUBSmall.zip" in err and "data prepare cub --root data test_images=both --source source" in err
    )
    put(Path("source/CUBSmall.zip"), {f"CUBSmall/{name}": content for name, content in images_of(small).items()})
    assert faked.prepare(launch, "test_images=both")[0] == 0
    for setting, count in (("official", 20), ("small", 3), ("both", 23)):
        code, out, _ = launch("data", "check", "cub", f"test_images={setting}")
        assert code == 0 and f"cub test: {count} images" in out
    both = build.dataset(cub.Config(test_images="both")).split("test")
    assert both.name == "test" and both.image_ids[20:] == tuple(names)
    assert both.key != build.dataset(cub.Config()).split("test").key, "the images of both are cached beside each other"
