"""What `cluster check` says of every file: syntax, size, what is left to fill in; and of the shipped ones."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from orchestrator.cluster.check_file import check_file
from tests.support.clusters import MANIFESTS, RAY_FILES, filled_in, kind, read, states
from tests.support.paths import ROOT
from tests.support.tiny import Launch
from wsol.errors import InputError

pytestmark = pytest.mark.usefixtures("in_the_checkout")


@pytest.mark.parametrize("path", [*RAY_FILES, *MANIFESTS], ids=lambda path: path.stem)
def test_every_shipped_file_is_right_once_it_is_filled_in(path: Path, tmp_path: Path) -> None:
    (tmp_path / path.name).write_text(filled_in(path.read_text()))
    wrong = [finding for finding in check_file(tmp_path / path.name) if finding.state == "wrong"]
    assert not wrong
    text = path.read_text()
    opening = text.partition("\n\n")[0]
    for word in (
        "Use",
        "ray start" if kind(path) == "fake_multinode" else "launch.py cluster check",
        "Costs when idle:",
        "ake it down",
        "Ports",
    ):
        assert word in opening, f"{path.name}: its opening comment lacks {word!r}; see clusters/gpu.yaml"
    for named in re.findall(r"search_spaces/\w+\.yaml", text):
        assert (ROOT / named).exists(), named


@pytest.mark.parametrize("path", [*RAY_FILES, *MANIFESTS], ids=lambda path: path.stem)
def test_as_shipped_nothing_is_wrong_but_what_is_to_be_filled_in(path: Path) -> None:
    wrong = [finding for finding in check_file(path) if finding.state == "wrong"]
    if path.stem == "local":
        assert not wrong
    else:
        assert [finding.subject for finding in wrong] == ["to fill in"] and "put your own" in wrong[0].detail


def test_a_file_with_places_to_fill_in_is_not_ready(launch: Launch) -> None:
    code, out, err = launch("cluster", "check", "clusters/gpu.yaml")
    assert code == 2 and "1 of " in err and "checks failed" in err
    assert "available_node_types.gpu.node_config.SecurityGroupIds.0" in "".join(out.split())


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "cluster.yaml"
    for text in ("", "a: [", "- a", "a: 2020-13-45", "[" * 5000, "a: " + "1" * 5000, "a: !!python/object:os.system {}"):
        path.write_text(text)
        with pytest.raises(InputError, match=re.escape(str(path))) as refused:
            check_file(path)
        assert "\n" not in str(refused.value)
    path.write_text("cluster_name: a\n---\ncluster_name: b\n")
    with pytest.raises(InputError, match="holds 2 documents"):
        check_file(path)
    path.write_bytes(b"a: \xff")
    with pytest.raises(InputError, match="not UTF-8"):
        check_file(path)
    with pytest.raises(InputError, match="No such file"):
        check_file(tmp_path / "none.yaml")


BOMBS = {
    "of lists": "".join(
        f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9 if level else ['x'] * 9)}]\n" for level in range(12)
    ),
    "of mappings": "".join(
        f"a{level}: &a{level} {{{', '.join(f'k{n}: *a{level - 1}' if level else f'k{n}: x' for n in range(9))}}}\n"
        for level in range(12)
    ),
    "of merge keys": "a0: &a0 {x: 1}\n"
    + "".join(f"a{level}: &a{level} {{<<: [{', '.join([f'*a{level - 1}'] * 9)}]}}\n" for level in range(1, 12)),
    "of itself": "a: &a [*a]\n",
    "one in the other": "a0: &a0 []\n" + "".join(f"a{level}: &a{level} [*a{level - 1}]\n" for level in range(1, 3000)),
}


CHECK_ALL = """
import resource, sys
from pathlib import Path
from orchestrator.cluster.check_file import check_file
from wsol.errors import InputError

resource.setrlimit(resource.RLIMIT_CPU, (30, 30))  # what hangs ends here
for name in sys.argv[1:]:
    try:
        check_file(Path(name))
    except InputError as error:
        print(error)
"""


def test_aliases_of_aliases_are_refused_at_once(tmp_path: Path) -> None:
    paths = []
    for head in ("", "apiVersion: v1\n", "provider: {type: aws}\n"):
        for text in BOMBS.values():
            paths.append(tmp_path / f"{len(paths)}.yaml")
            paths[-1].write_text(head + text)
    words = [sys.executable, "-c", CHECK_ALL, *map(str, paths)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-300:]
    told = done.stdout.splitlines()
    assert len(told) == len(paths)
    for path, line in zip(paths, told, strict=True):
        assert line.startswith(f"{path}:") and "alias" in line


def test_aliases_in_moderation_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "cluster.yaml"
    config = read("gpu")
    config["worker_start_ray_commands"] = config["head_start_ray_commands"]
    path.write_text(yaml.safe_dump(config))
    assert "*id001" in path.read_text() and states(path)["schema"] == "ok"


def test_the_verb_prints_a_table_and_exits_with_2(tmp_path: Path) -> None:
    (tmp_path / "cluster.yaml").write_text("cluster_name: x\nprovider: {type: aws, region: us-west-2}\nmax_worker: 2\n")
    done = subprocess.run(
        [sys.executable, "launch.py", "cluster", "check", str(tmp_path / "cluster.yaml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2 and "max_worker" in done.stdout and "checks failed" in done.stderr
