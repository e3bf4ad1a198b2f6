"""Files that were damaged on their way."""

from __future__ import annotations

import random


def damaged(content: bytes, draw: random.Random) -> bytes:
    """One to four bytes changed, a part cut out or doubled, or the end cut off."""
    changed = bytearray(content)
    kind = draw.randrange(4)
    if kind == 0:
        for _ in range(draw.randint(1, 4)):
            changed[draw.randrange(len(changed))] = draw.randrange(256)
        return bytes(changed)
    start = draw.randrange(len(changed))
    end = min(len(changed), start + draw.randint(1, 600))
    if kind == 1:
        del changed[start:end]
    elif kind == 2:
        changed[start:start] = changed[start:end]
    else:
        del changed[start:]
    return bytes(changed)
