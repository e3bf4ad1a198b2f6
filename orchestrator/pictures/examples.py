"""The entries of the list of pictures, which the gallery writes and the report reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenMap:
    """One image in one view.

    Attributes:
        label: what the view is called.
        map: file of the score map with regions, relative to the list.
        iou: IoU of the predicted and the true region, in [0, 1].
        threshold: the score from which on a pixel belongs to the prediction.
    """

    label: str = ""
    map: str
    iou: float
    threshold: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FurtherMap:
    """Another map that the winner's method shows of an image; it was not scored.

    Attributes:
        label: what the method calls it.
        map: file of the map, relative to the list.
    """

    label: str
    map: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Example(SeenMap):
    """One image as the winner and others see it.

    Attributes:
        image_id: the image's id in the data set.
        class_name: the name of its class.
        photo: file of the photo with its ground truth, relative to the list.
        size: area of the object, in percent of the image; None in lists of older versions.
        tabs: the tabs that show it; empty in lists of older versions.
        further: other maps of it that the winner's method shows.
        others: the same image in other trials and post-hoc settings.
    """

    image_id: str
    class_name: str
    photo: str
    size: float | None = None
    tabs: tuple[str, ...] = ()
    further: tuple[FurtherMap, ...] = ()
    others: tuple[SeenMap, ...] = ()

    @property
    def views(self) -> tuple[SeenMap, ...]:
        """All views, the winner's first."""
        return (self, *self.others)

    @property
    def files(self) -> list[str]:
        """The files of all its pictures."""
        return [self.photo, *(view.map for view in self.views), *(one.map for one in self.further)]

    def with_files(self, files: Sequence[str]) -> Example:
        """The same example with other files of pictures, in the order of `files`."""
        photo, own, *rest = files
        others = [replace(view, map=file) for view, file in zip(self.others, rest, strict=False)]
        further = [replace(one, map=file) for one, file in zip(self.further, rest[len(others) :], strict=True)]
        return replace(self, photo=photo, map=own, others=tuple(others), further=tuple(further))
