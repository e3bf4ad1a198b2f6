"""What holds for every page of a report."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import plotly.graph_objects as go
import pytest

from orchestrator.report.page import write_report

MEGABYTE = 1_000_000
LOADING_ATTRIBUTE = re.compile(
    r"""<[a-z][^<>]*\s(?:src|href|srcset|data|action|poster)\s*=\s*["']?\s*([^"'\s>]+)""", re.IGNORECASE
)
LOADING_STYLE = re.compile(r"""(?:url\(|@import)\s*["']?([^"')\s]+)""")


def page_of(folder: Path) -> str:
    """Write the report and check what holds for all of them."""
    path = write_report(folder)
    assert path == folder / "report.html"
    assert path.stat().st_size < 8 * MEGABYTE
    page = path.read_text(encoding="utf-8")
    visible = re.sub(r'<script type="text/plain" id="plotly">[^<]*</script>', "", page)
    targets = LOADING_ATTRIBUTE.findall(visible) + LOADING_STYLE.findall(visible)
    assert [target for target in targets if not target.startswith("data:")] == []
    assert "default-src 'none'" in page
    assert "alert(" not in re.sub("&lt;script&gt;alert", "", visible.replace("\\u003cscript\\u003ealert", ""))
    assert not list(folder.glob(".report*"))
    check_figures(page)
    return page


def check_figures(page: str) -> None:
    """Plotly accepts every figure, and each has its place in the page."""
    text = page.split('id="specs">')[1].split("</script>")[0]
    specs = json.loads(re.sub(r"var\(--[a-z]+\)", "#123456", text), parse_constant=pytest.fail)
    places = {html.unescape(key) for key in re.findall(r'id="plot-([^"]*)"', page)}
    for key, spec in specs.items():
        go.Figure(spec)
        assert key in places
