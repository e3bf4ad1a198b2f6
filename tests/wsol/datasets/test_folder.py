"""The user's own images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.small_archives import picture, put_files, put_metadata, quiet
from tests.support.tiny import Launch
from wsol import plugins
from wsol.data.dataset import SPLIT_FOLDERS
from wsol.datasets import folder
from wsol.errors import InputError


def own_images(tmp_path: Path, **settings: Any) -> folder.Config:
    ids = {split: [f"{split}{index}.jpg" for index in range(3)] for split in SPLIT_FOLDERS.values()}
    put_metadata(tmp_path / "lists", ids)
    put_files(tmp_path / "images", {name: picture() for names in ids.values() for name in names})
    return folder.Config(
        root=str(tmp_path), images=str(tmp_path / "images"), metadata=str(tmp_path / "lists"), **settings
    )


def test_folder_counts_its_classes(tmp_path: Path) -> None:
    config = own_images(tmp_path)
    folder.prepare(config, None, quiet)
    assert folder.build(config).num_classes == 3 and folder.build(config).class_names == ["0", "1", "2"]
    assert folder.build(own_images(tmp_path, class_names=["a", "b", "c", "d"])).num_classes == 4


def test_folder_defects(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data\.class_names has 1 names, but data\.num_classes is 3"):
        folder.build(own_images(tmp_path, num_classes=3, class_names=["a"]))
    with pytest.raises(InputError, match=r"class_labels\.txt:3: class label 2 is too large: with 2 classes"):
        folder.prepare(own_images(tmp_path, num_classes=2), None, quiet)
    with pytest.raises(InputError, match=r"gone: no such folder; set data\.images"):
        folder.build(own_images(tmp_path).model_copy(update={"images": str(tmp_path / "gone")}))


def test_a_root_holds_everything(tmp_path: Path) -> None:
    """Images, metadata, masks and the names of the classes, as imports of annotations leave them."""
    ids = {split: [f"{split}{index}.jpg" for index in range(2)] for split in SPLIT_FOLDERS.values()}
    put_metadata(tmp_path / "metadata", ids, masks=True)
    put_files(tmp_path / "images", {name: picture() for names in ids.values() for name in names})
    (tmp_path / "metadata" / "class_names.txt").write_text("cat\na big dog\n")
    data = folder.build(folder.Config(root=str(tmp_path)))
    assert data.class_names == ["cat", "a big dog"]
    assert data.split("test").mask_paths(0)[0] == [tmp_path / "masks" / "test0_m0.png"]
    assert data.split("test").image_path(0) == tmp_path / "images" / "test0.jpg"
    elsewhere = folder.Config(root=str(tmp_path), masks=str(tmp_path / "other"), class_names=["a", "b"])
    assert folder.build(elsewhere).split("test").mask_paths(0)[0] == [tmp_path / "other" / "test0_m0.png"]
    assert folder.build(elsewhere).class_names == ["a", "b"], "what is said comes first"
    named = folder.Config(root="r", images=str(tmp_path / "images"), metadata=str(tmp_path / "metadata"))
    assert folder.build(named).split("test").mask_paths(0)[0] == [tmp_path / "images" / "test0_m0.png"]


def test_class_names_that_do_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "lists" / "class_names.txt"
    config = own_images(tmp_path)
    path.write_text("a\nb")
    with pytest.raises(InputError, match=r"class_labels\.txt:3: class label 2 is too large: with 2 classes"):
        folder.prepare(config, None, quiet)
    with pytest.raises(InputError, match=r"class_names\.txt has 2 names, but data\.num_classes is 3"):
        folder.build(own_images(tmp_path, num_classes=3))
    path.write_text("a\n\nb")
    with pytest.raises(InputError, match=r"class_names\.txt:2: empty line between names"):
        folder.build(config)


def test_a_tilde_is_the_home_of_the_user(tmp_path: Path, launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    """In every path of a data set, and in `--source`; nothing is made below a folder of that name."""
    home = tmp_path / "home"
    own_images(home)
    monkeypatch.setenv("HOME", str(home))
    code, out, err = launch("data", "check", "folder", "images=~/images", "metadata=~/lists", "--root", "~/data")
    assert code == 0 and "folder test: 3 images" in out, err
    for name in plugins.names("dataset"):
        config = plugins.load("dataset", name).Config
        paths = {key: "~/x" for key in ("root", "stage", "images", "metadata") if key in config.model_fields}
        made = config.model_validate({"name": name, **paths})
        assert {getattr(made, key) for key in paths} == {f"{home}/x"}, name
    code, _, err = launch("data", "prepare", "tiny_imagenet", "--source", "~/nothing", "--root", "~/data")
    assert code == 2 and f"--source {home}/nothing: there is no such file or folder" in err
    assert not Path("~").exists()
