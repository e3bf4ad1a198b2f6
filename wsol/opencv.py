"""OpenCV, from whichever of its wheels is installed."""

from __future__ import annotations

try:
    import cv2
except ImportError as error:
    raise ImportError(
        "OpenCV cannot be imported: pip install opencv-python-headless (opencv-python serves as well)"
    ) from error

__all__ = ["cv2"]
