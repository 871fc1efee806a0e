"""The one error that a user is meant to read, and the one interruption that is none."""


class BenchError(Exception):
    """Bad input or a fault outside the program: says what is wrong, where, and what to do.

    The command line prints it as one line and leaves with exit code 2; nothing is written under a final name.
    """

    def __init__(self, what: str, *, where: object = None, do: str | None = None):
        parts = [f"{where}: {what}" if where is not None else what]
        if do:
            parts.append(f"What to do: {do}")
        super().__init__(". ".join(part.rstrip(".") for part in parts) + ".")


class TimeIsUp(Exception):
    """A time budget ended at a checkpoint; the same command goes on from there. Exit code 75."""
