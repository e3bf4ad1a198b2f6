"""Downloads that go on where they stopped."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.support.small_archives import quiet
from wsol.data.archives import require_archive
from wsol.datasets import tiny_imagenet
from wsol.datasets._download import download
from wsol.errors import InputError

CONTENT = bytes(range(256)) * 40


class Handler(BaseHTTPRequestHandler):
    """Serves CONTENT; `/short` breaks off, `/whole` knows no ranges."""

    def do_GET(self) -> None:
        wanted = self.headers.get("Range") if self.path != "/whole" else None
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        if start >= len(CONTENT):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(CONTENT)}")
            self.end_headers()
            return
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        self.wfile.write(CONTENT[start:-100] if self.path == "/short" else CONTENT[start:])

    def log_message(self, *_: object) -> None:
        """Silence."""


@pytest.fixture
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as opened:
        threading.Thread(target=opened.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://127.0.0.1:{opened.server_address[1]}"
        opened.shutdown()


@pytest.mark.parametrize("path", ["/ranges", "/whole"])
@pytest.mark.parametrize("have", [0, 1000, len(CONTENT)])
def test_download_goes_on_where_it_stopped(tmp_path: Path, server: str, path: str, have: int) -> None:
    lines: list[str] = []
    (tmp_path / "file.part").write_bytes(CONTENT[:have])
    download(server + path, tmp_path / "file", lines.append, md5=hashlib.md5(CONTENT).hexdigest())
    assert (tmp_path / "file").read_bytes() == CONTENT and not (tmp_path / "file.part").exists()
    assert lines[-1] == f"downloaded {tmp_path / 'file'}"
    download("http://127.0.0.1:1/", tmp_path / "file", quiet)  # is there, not fetched again


def test_broken_download_is_kept_for_the_next_try(tmp_path: Path, server: str) -> None:
    with pytest.raises(InputError, match=r"/short: cannot be downloaded .*try again later"):
        download(server + "/short", tmp_path / "file", quiet)
    assert (tmp_path / "file.part").stat().st_size == len(CONTENT) - 100 and not (tmp_path / "file").exists()
    download(server + "/ranges", tmp_path / "file", quiet)
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_wrong_digest_and_no_connection(tmp_path: Path, server: str) -> None:
    with pytest.raises(InputError, match=r"has MD5 .* expected 00; it was deleted"):
        download(server + "/ranges", tmp_path / "file", quiet, md5="00")
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError, match="cannot be downloaded"):
        download("http://127.0.0.1:1/nobody", tmp_path / "file", quiet)


def test_what_is_another_file_is_deleted(tmp_path: Path, server: str) -> None:
    """A page about a login, in place of an archive."""

    with pytest.raises(
        InputError, match=r"/ranges: gives another file \(.*file\.part: is no archive\); it was deleted"
    ):
        download(server + "/ranges", tmp_path / "file", quiet, check=require_archive)
    assert not list(tmp_path.iterdir())


def test_what_does_not_fit_on_the_disk_is_not_begun(
    tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": len(CONTENT) - 1}))
    with pytest.raises(InputError, match=r"/ranges: needs 0\.0 GB, 0\.0 GB are free in"):
        download(server + "/ranges", tmp_path / "file", quiet)
    (tmp_path / "file.part").write_bytes(CONTENT[:1000])
    download(server + "/ranges", tmp_path / "file", quiet)
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_page_in_place_of_an_archive_is_not_used_again(
    tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = replace(tiny_imagenet.ARCHIVE, url=f"{server}/whole")
    monkeypatch.setattr(tiny_imagenet, "ARCHIVE", archive)
    for _ in range(2):
        with pytest.raises(InputError, match="gives another file"):
            tiny_imagenet.prepare(tiny_imagenet.Config(root=str(tmp_path)), None, quiet)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
