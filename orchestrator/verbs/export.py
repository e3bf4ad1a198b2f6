"""`export`: the winner of a run in a format that other programs read."""

from __future__ import annotations

from pathlib import Path

from orchestrator.console import console
from orchestrator.formats import megabytes
from orchestrator.preflight.place import require_no_foreign_files, require_writable


def export(folder: Path, form: str, out: Path | None) -> Path:
    """Write the winner of a run in a format; returns the folder of its files.

    Args:
        folder: the folder of a finished run.
        form: `hub`, `safetensors`, `onnx` or `torchscript`.
        out: folder of the files, new or empty; None: `<folder>-<form>`.

    Raises:
        InputError: the user can correct what is wrong; nothing was written.
    """
    from orchestrator.winner.export import export as write_export

    place = out or folder.resolve().with_name(f"{folder.resolve().name}-{form}")
    require_writable(place)
    require_no_foreign_files(place, lambda _: False)
    for file in write_export(folder, form, place):
        console.print(f"{file}  {megabytes(file.stat().st_size)}")
    return place
