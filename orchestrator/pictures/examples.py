"""What the list of pictures holds: written by the gallery, read by the report."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenMap:
    """One image through one view.

    Attributes:
        label: of the view.
        map: file of the score map with regions, relative to the list.
        iou: of the predicted region with the truth, in [0, 1].
        threshold: the score from which on a pixel is predicted.
    """

    label: str = ""
    map: str
    iou: float
    threshold: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Example(SeenMap):
    """One image: through the winner, and through others.

    Attributes:
        image_id: of the data set.
        class_name: what it shows.
        photo: file of the photo with what is true, relative to the list.
        size: of the object in percent of the image; None in lists of older versions.
        tabs: under which it is shown; empty in lists of older versions.
        others: the same image through other trials and post-hoc settings.
    """

    image_id: str
    class_name: str
    photo: str
    size: float | None = None
    tabs: tuple[str, ...] = ()
    others: tuple[SeenMap, ...] = ()

    @property
    def views(self) -> tuple[SeenMap, ...]:
        """The winner's first."""
        return (self, *self.others)
