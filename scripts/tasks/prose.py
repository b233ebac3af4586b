"""English that every Python brings: its help texts and the standard library's docstrings."""

import ast
import functools
import re
import sysconfig
from pathlib import Path
from pydoc_data import topics

_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


@functools.cache
def documents() -> tuple[str, ...]:
    """Sections of the help texts, then docstrings; about 1.3 million characters in all."""
    # A section begins with a line that is underlined.
    underlined = re.compile(r"\n(?=[^\n]+\n[*=~-]{4,}\n)")
    sections = [part for text in topics.topics.values() for part in underlined.split("\n" + text)]
    docstrings = []
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found = (ast.get_docstring(n) for n in ast.walk(tree) if isinstance(n, _DOCUMENTED))
        docstrings += [text for text in found if text]
    return (*sections, *docstrings)


def words(text: str) -> list[str]:
    """Lower-case runs of letters."""
    return re.findall(r"[a-z]+", text.lower())


def sentences(text: str) -> list[str]:
    """Sentences of four words or more: they end with . ! ? or : before a capital or a quote."""
    parts = re.split(r"(?<=[.!?:])\s+(?=[A-Z\"'`*(])", text)
    return [part for part in parts if len(words(part)) >= 4]
