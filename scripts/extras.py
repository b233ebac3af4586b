"""Packages that only some commands need."""

import importlib.util

from dqnlab.types import UserError


def need(extra: str, *packages: str) -> None:
    """Raise UserError with the command that installs an extra, if a package of it is absent."""
    missing = [each for each in packages if importlib.util.find_spec(each) is None]
    if missing:
        raise UserError(
            f"this needs {', '.join(missing)}, not installed: pip install 'dqnlab[{extra}]', or in "
            f"a checkout pip install -e '.[{extra}]'"
        )
