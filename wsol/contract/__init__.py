"""What every plugin keeps, as tests: those of this program, and those of every package that is installed.

    python -m pytest --pyargs wsol.contract -k mine

A plugin is found by itself and tested with the defaults of its `Config`. Needs pytest: `pip install
'wsol-search[contract]'`. The marker `slow` is on stacks of methods on large networks: `-m "not slow"` leaves them out.
"""
