"""The report in headless Chromium: nothing fails, nothing is fetched, every figure is drawn, on a desk and on a phone,
light and dark."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.report import make_run
from orchestrator.report.page import write_report
from tests.support import browser

pytestmark = pytest.mark.skipif(browser.PROGRAM is None, reason="needs Chromium: apt install chromium")

READY = (
    "[...document.querySelectorAll('.plot')].every((plot) => plot.classList.contains('js-plotly-plot')) &&"
    " document.querySelector('.main-svg')"
)
MARKS = ".scatterlayer path, .barlayer path, .contourlayer path, .contourlayer image, .heatmaplayer image"
CORNERS = "({x, y, width, height}) => [x, y + scrollY, x + width, y + scrollY + height]"
PLACE = f"({CORNERS})(document.getElementById('plot-parallel').getBoundingClientRect())"
LINES = """((cell) => {
  const text = document.createRange();
  text.selectNodeContents(cell);
  return new Set([...text.getClientRects()].map((line) => line.top)).size;
})"""
LOOK = f"""((all) => ({{
  figures: Object.fromEntries(all('.plot').map((plot) => [plot.id, plot.querySelectorAll('{MARKS}').length])),
  parallel: {PLACE},
  overflow: document.documentElement.scrollWidth - innerWidth,
  lines: Math.max(...all('.metrics td.interval').map((cell) => {LINES}(cell))),
  wide: all('.card:not(.scroll)').filter((card) => card.scrollWidth > card.clientWidth).length,
  background: getComputedStyle(document.body).backgroundColor,
  shown: all('.pictures figure').filter((figure) => figure.offsetHeight > 0).length,
  first: ['.pictures', 'table'].map((selector) => all(selector)[0].getBoundingClientRect().top),
  all: (document.getElementById('all-pictures').click(),
        all('.pictures figure').filter((figure) => figure.offsetHeight > 0).length),
  after: (all('[data-tab]')[1].click(), all('[aria-pressed=true]')[0].textContent),
  sorted: (all('.trials th button')[2].click(), all('.trials tbody td')[0].textContent),
}}))((selector) => [...document.querySelectorAll(selector)])"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a search with every figure."""
    return write_report(make_run(tmp_path_factory.mktemp("runs") / "large", trials=30, images=24, views=3))


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_the_page_works(page: Path, tmp_path: Path, width: int, dark: bool) -> None:
    seen = browser.visit(page, LOOK, width=width, dark=dark, ready=READY)
    assert seen.errors == []
    assert [address for address in seen.requests if not address.startswith(("data:", "blob:"))] == [page.as_uri()]
    assert len(seen.value["figures"]) == 14
    assert [figure for figure, marks in seen.value["figures"].items() if marks == 0] == [
        "plot-parallel"
    ]  # drawn by WebGL
    assert seen.value["overflow"] <= 0 and seen.value["wide"] == 0
    assert seen.value["shown"] == 4 and seen.value["all"] == 6 and seen.value["after"] == "Misses"
    assert seen.value["lines"] == (1 if width > 600 else 2), "an interval is not torn into three lines"
    pictures, table = seen.value["first"]
    assert pictures < min(table, 700), "the first screen shows pictures"
    assert seen.value["background"] == ("rgb(18, 20, 23)" if dark else "rgb(247, 247, 245)")
    (tmp_path / "page.png").write_bytes(seen.shot)
    with Image.open(tmp_path / "page.png") as picture:
        assert picture.width == width and picture.height > 3000
        lines = np.asarray(picture.convert("RGB").crop([round(corner) for corner in seen.value["parallel"]])).astype(
            int
        )
    assert ((lines[..., 1] - lines[..., 0]) > 30).sum() > 500  # green ones


def test_what_goes_wrong_is_noticed(tmp_path: Path) -> None:
    broken = tmp_path / "broken.html"
    broken.write_text("<script>console.error('one'); fetch('http://127.0.0.1:9/'); missing()</script>")
    seen = browser.visit(broken, "1")
    assert len(seen.errors) >= 2 and "http://127.0.0.1:9/" in seen.requests
