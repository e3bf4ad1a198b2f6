"""Images for the tests of what training and evaluation do with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.coloured_images import COLOURS, write_images


@pytest.fixture
def plain_colours(tmp_path: Path) -> Path:
    """Seven images of one colour each: crops and flips do not change them."""
    write_images(tmp_path / "colours", [np.full((16, 16, 3), colour, np.uint8) for colour in COLOURS])
    return tmp_path / "colours"
