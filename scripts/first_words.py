"""The first words of a command, said before JAX and the games are loaded."""

from collections.abc import Sequence

_SILENT = {"--quiet", "--help", "-h", "--list", "--sample"}


def say(args: Sequence[str]) -> None:
    """Print that the command is loading, unless it only prints something or is to be quiet."""
    names = {arg.partition("=")[0] for arg in args}
    if not names & _SILENT:
        print("loading JAX and the games ...", flush=True)
