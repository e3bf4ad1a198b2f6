"""The ways a run ends badly that are not bugs."""


class InputError(Exception):
    """The user's input cannot be used: the message says what, where and what to do. Exit code 2."""


class Diverged(Exception):
    """Training produced a non-finite loss: the trial failed, for the reason in the message, and is not retried."""


class RunFailed(Exception):
    """A run ended without what was asked for: the message says why. Exit code 1."""
