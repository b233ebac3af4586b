"""Packages that only some commands need."""

import importlib.util
import os
import sys
from pathlib import Path

from dqnlab.types import UserError

_ROOT = Path(__file__).resolve().parent.parent


def need(extra: str, *packages: str) -> None:
    """Raise UserError with the command that installs an extra, if a package of it is missing."""
    missing = [each for each in packages if not is_installed(each)]
    if missing:
        raise UserError(f"this needs {', '.join(missing)}, not installed: {install(extra)}")


def is_installed(package: str) -> bool:
    """Whether a package can be imported."""
    return importlib.util.find_spec(package) is not None


def install(extra: str) -> str:
    """Return the command that installs an extra of this checkout.

    It names the checkout: dqnlab is on no package index, so anyone could take its name there.
    """
    python, root = os.path.relpath(sys.executable), os.path.relpath(_ROOT)
    return f"{python} -m pip install -e '{root}[{extra}]'"
