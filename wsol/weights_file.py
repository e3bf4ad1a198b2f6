"""Reads weights from a file of any origin: the only reader of released checkpoints and of `backbone.weights`.

It opens torch's format, the older pickled one and safetensors. No code of a file is run. A file may wrap its state dict
in containers (`{"epoch": ..., "state_dict": ...}`); names may have the marks of DataParallel (`module.`) and of
torch.compile (`_orig_mod.`), around the network or around one of its children, and all names may begin with `model.`.
These marks are removed, and one line says so.
"""

from __future__ import annotations

import pickle
import re
from collections import Counter
from collections.abc import Mapping
from itertools import takewhile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wsol.console import say_once
from wsol.errors import InputError, first_line, listed
from wsol.file_kinds import is_safetensors, stranger

CONTAINERS = ("state_dict", "model_state_dict", "model")
MARKS = ("module", "_orig_mod")
"""Parts that a wrapper adds to a name."""

ATTRIBUTE = "model."
"""The attribute in which a class that trains a network keeps it."""


def read(path: Path) -> dict[str, Tensor]:
    """Read the state dict in a file, name -> tensor of any shape on the CPU, without its containers and the marks of
    wrappers.

    Raises:
        InputError: there is no such file, it is damaged or no checkpoint, reading it would need more than tensors and
            plain values, or weights are not finite in float32.
    """
    state = _unwrapped(_state_dict(_open(path), path), path)
    _require_numbers(state, path)
    return state


def _open(path: Path) -> Any:
    try:
        if found := stranger(path):
            raise InputError(f"{path} cannot be read as a checkpoint: it is {found}")
        if is_safetensors(path):
            return _safetensors(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"no checkpoint at {path}: give the path of a file with weights") from None
    except pickle.UnpicklingError as error:
        raise InputError(_refusal(path, error)) from None
    except InputError:
        raise
    except Exception as error:  # damaged bytes fail in every way that there is
        raise InputError(f"{path} cannot be read as a checkpoint: {_reason(error)}; download it again") from None


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        from safetensors.torch import load_file
    except ImportError:
        raise InputError(f"{path} is in the format safetensors: pip install safetensors") from None
    state: dict[str, Tensor] = load_file(path)
    return state


def _reason(error: Exception) -> str:
    """The message of torch, without its advice to load the file unsafely."""
    return first_line(error).partition(" In PyTorch 2.6")[0]


def _refusal(path: Path, error: Exception) -> str:
    wanted = re.search(r"GLOBAL ([\w.]+)", str(error))
    if wanted is None:
        return f"{path} was refused, it cannot be read as tensors alone: {_reason(error)}; download it again"
    return (
        f"{path} was refused: it wants {wanted[1]}, and a file that may call functions can run any code. If you trust"
        " it, convert it in the environment of its repository: content = torch.load(file); torch.save({k: v for k, v"
        ' in content["state_dict"].items()}, "weights.pt") (or content.state_dict(), where it holds a whole model),'
        " and import weights.pt"
    )


def _state_dict(content: Any, path: Path) -> dict[str, Tensor]:
    for _ in CONTAINERS:  # they may be nested
        content = _inside(content)
    if not isinstance(content, Mapping):
        raise _no_state_dict(path, f"is a {type(content).__name__}")
    if isinstance(content.get("method"), Mapping):
        raise InputError(
            f"{path} is a checkpoint of this program: `evaluate` and `initial_run` take the folder of its run"
        )
    others = [str(key) for key, value in content.items() if not (isinstance(key, str) and isinstance(value, Tensor))]
    if len(others) == len(content):
        raise _no_state_dict(path, f"has the entries {listed(others)}")
    if others:
        raise InputError(
            f"{path} is not a state dict, a mapping from names to tensors: {listed(others)} are no tensors with a name;"
            " save the model's state_dict()"
        )
    return dict(content)


def _inside(content: Any) -> Any:
    if not isinstance(content, Mapping):
        return content
    return next((content[name] for name in CONTAINERS if isinstance(content.get(name), Mapping)), content)


def _no_state_dict(path: Path, found: str) -> InputError:
    return InputError(
        f"{path} holds no state dict, a mapping from names to tensors, neither directly nor as {', '.join(CONTAINERS)}:"
        f" it {found}; save the model's state_dict()"
    )


def _unwrapped(state: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    taken = Counter(mark for key in state for mark in dict.fromkeys(_marks_and_name(key)[0]))
    names = {key: _marks_and_name(key)[1] for key in state}
    below = [key for key, name in names.items() if name.startswith(ATTRIBUTE)]
    if 0 < len(below) < len(names):
        raise InputError(
            f"{path}: {len(below)} of its {len(names)} names begin with `{ATTRIBUTE}`, others do not"
            f" ({listed(sorted(set(names) - set(below)))}): keep the network alone, torch.save({{k.removeprefix("
            f"'{ATTRIBUTE}'): v for k, v in state.items() if k.startswith('{ATTRIBUTE}')}}, 'weights.pt')"
        )
    if below:
        taken[ATTRIBUTE.rstrip(".")] = len(below)
        names = {key: name.removeprefix(ATTRIBUTE) for key, name in names.items()}
    twice = [name for name, count in Counter(names.values()).items() if count > 1]
    if twice:
        raise InputError(
            f"{path}: without the marks of wrappers several weights are called {listed(twice)}: the network is in it"
            " twice; save the state_dict() of one of them"
        )
    if taken:
        marks = ", ".join(f"`{mark}.` ({count} of {len(state)})" for mark, count in taken.items())
        say_once(f"{path}: taken off the names of its weights: {marks}")
    return {names[key]: value for key, value in state.items()}


def _marks_and_name(key: str) -> tuple[list[str], str]:
    """The marks that wrappers put into a name, before it or after the name of a child, and the name without them.
    Deeper inside, a module may really have such a name."""
    parts = key.split(".")
    front = list(takewhile(MARKS.__contains__, parts))
    child, *rest = parts[len(front) :] or [""]
    behind = list(takewhile(MARKS.__contains__, rest))
    return front + behind, ".".join([child, *rest[len(behind) :]])


def _require_numbers(state: Mapping[str, Tensor], path: Path) -> None:
    """Raise InputError if a tensor has no values, or values that no network has."""
    odd = [key for key, value in state.items() if _is_odd(key, value)]
    if odd:
        raise InputError(
            f"{path} holds weights that are sparse, quantised, complex, whole numbers or without values: {listed(odd)};"
            " save the state_dict() of a plain network"
        )
    broken = {key: int((~value.float().isfinite()).sum()) for key, value in state.items()}
    shown = [f"{key} ({count} of {state[key].numel()})" for key, count in broken.items() if count]
    if shown:
        raise InputError(
            f"{path} holds numbers that are infinite, no numbers or beyond float32 in {listed(shown)}: its training"
            " diverged, or the file is damaged; give another checkpoint"
        )


def _is_odd(key: str, value: Tensor) -> bool:
    plain = value.layout == torch.strided and not (value.is_quantized or value.is_meta or value.is_complex())
    return not plain or (key.endswith((".weight", ".bias")) and not value.is_floating_point())
