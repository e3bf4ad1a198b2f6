"""What is found at the first request: once, also by two threads; and compiled code, too."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

from wsol.ops.lazy import lazy


def test_what_is_found_lazily_is_found_once_and_by_two_objects_at_once() -> None:
    """With a lock for all objects, as in `functools.cached_property` before Python 3.12, neither would meet the
    other."""
    meeting = threading.Barrier(2, timeout=10)
    found: list[int] = []

    class Slow:
        @lazy
        def value(self) -> int:
            meeting.wait()
            found.append(1)
            return 5

    objects = [Slow(), Slow()]
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lambda slow: slow.value + slow.value, objects)) == [10, 10]
    assert len(found) == 2


ONCE = """
import sys
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from wsol.ops import component_tree
from wsol.ops.boxes import boxes_by_level
assert "numba" not in sys.modules
maps = [np.random.default_rng(seed).random((12, 12)) for seed in range(8)]
with ThreadPoolExecutor(8) as pool:
    together = list(pool.map(lambda one: boxes_by_level(one).all.tolist(), maps))
assert together == [boxes_by_level(one).all.tolist() for one in maps]
assert type(component_tree.all_boxes).__module__.startswith("numba")
"""


def test_machine_code_is_made_at_the_first_call_and_once() -> None:
    subprocess.run([sys.executable, "-c", ONCE], check=True, timeout=120)


NAMED = """
import numpy as np
from wsol.ops import component_tree as tree
assert len(tree.components(np.eye(4, dtype=np.uint8), areas=True)) == 1
"""


def test_the_first_call_may_name_its_arguments() -> None:
    subprocess.run([sys.executable, "-c", NAMED], check=True, timeout=120)
