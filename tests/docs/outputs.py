"""Printed outputs beside the documented ones: alike in their words, whatever the numbers are."""

import re
from collections.abc import Sequence

_FORMS = (
    (r"\x1b\[[0-9;]*m", ""),
    (r"\S*bin/python\b", "python"),  # of whichever environment
    (r"'[A-Z]+'|\b(NOOP|FIRE|UP|DOWN|LEFT|RIGHT|RIGHTFIRE|LEFTFIRE)\b", "ACTION"),
    (r"(bfloat|float)(16|32)( by .*)?", "FLOAT"),
    (r"[-\u2212+]?\d[\d,]*(\.\d+)?(e[-+]\d+)?", "#"),
    (r"(?<=[|(= ])-(?=[|), ]|$)", "#"),  # an unknown number
    (r"\bnan\b", "#"),
    (r"(\[#(, #)*\])", "[#]"),
    (r"#(:#)+", "#"),
    (r"(# ?%?)( ± #)", r"\1"),
    (r"(# \w+?)s\b", r"\1"),  # 1 game, 2 games
    (r"ACTION( ACTION)*", "ACTION"),
    (r"\s+", " "),
)


def form(line: str) -> str:
    """The line with `#` for each number."""
    for pattern, replacement in _FORMS:
        line = re.sub(pattern, replacement, line)
    return line.strip()


def missing(documented: Sequence[str], printed: str, script: str | None) -> list[str]:
    """The documented lines that have no equal among the printed ones; `...` is any text."""
    lines = {form(line) for line in printed.splitlines()}
    if script == "doctor.py":  # describes the machine: its titles and verdict only
        documented = [line for line in documented if not line.startswith((" ", "packages"))]
        lines = {line.split(" ")[0] for line in lines if line}
        documented = [line.split(" ")[0] for line in documented]
    return [
        line
        for line in documented
        # Commands are called in this process, where the first words have no imports to announce.
        if line.strip() not in ("", "...", "loading JAX and the games ...")
        and not any(re.fullmatch(_pattern(line), each) for each in lines)
    ]


def _pattern(line: str) -> str:
    return ".*".join(re.escape(part) for part in re.split(r"\s*\.\.\.", form(line)))
