"""Counts the images and annotations that are left out, with one sentence for each reason."""

from __future__ import annotations

from dataclasses import dataclass

from wsol.errors import counted

SHOWN = 3


@dataclass(frozen=True, slots=True)
class Kind:
    """One reason for images or annotations: `left out: 3 images without an annotation`."""

    noun: str
    text: str = ""
    done: str = "left out"


NO_ANNOTATION = Kind("image", "without an annotation")
CLASSES = Kind("image", "with two classes or more")
NO_FILE = Kind("image", "without a file, or whose name fits several files")
ODD_NAME = Kind(
    "image", "whose name has a comma, a backslash, a control character or no UTF-8, which the text files cannot hold"
)
SHARED_FILE = Kind("image", "whose name, without its folders, fits the same file as another's")
SHORTENED = Kind("image", "in folders that are not there", done="found by the end of the name")
DAMAGED = Kind("image", "that cannot be read")
OTHER_SIZE = Kind("image", "annotated in another size than that of the file")
TURNED = Kind("image", "annotated without the EXIF orientation of the file")
NOTHING_LEFT = Kind("image", "of which no annotation is left")
EMPTY = Kind("annotation", "with an empty or inverted box")
REPEATED = Kind("annotation", "with the same box as another one of its image")
OF_REGION = Kind("annotation", "without a usable box", done="boxed by the segmentation")
OUTSIDE = Kind("annotation", "outside of the image")
CUT = Kind("annotation", "that reached over the edge of the image", done="cut")
NO_REGION = Kind("annotation", "without a segmentation")
NO_PIXEL = Kind("annotation", "whose segmentation covers no pixel")
NO_IMAGE_OF_CLASS = Kind("class", "without an image")


class LeftOut:
    """Counts by kind."""

    def __init__(self) -> None:
        self._found: dict[Kind, list[str]] = {}

    def add(self, kind: Kind, name: str) -> None:
        """Count one; the sentence has the names of the first few."""
        self._found.setdefault(kind, []).append(name)

    def lines(self) -> list[str]:
        """A sentence for each kind, in the order in which they were first met."""
        return [_line(kind, names) for kind, names in self._found.items()]


def _line(kind: Kind, names: list[str]) -> str:
    shown = list(dict.fromkeys(names))
    more = ", ..." if len(shown) > SHOWN else ""
    what = f"{counted(len(names), kind.noun)} {kind.text}".rstrip()
    return f"{kind.done}: {what} ({', '.join(shown[:SHOWN])}{more})"
