"""Text as arrays: files read, characters numbered, mistakes named."""

import difflib
from pathlib import Path

import numpy as np

from dqnlab.types import UserError


def read(path: Path, least: int = 1) -> str:
    """The text of a UTF-8 file; UserError where it is absent, no text, or under `least` long."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        near = [str(path.parent / name) for name in _nearest(path)]
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise UserError(f"{path} cannot be read: {error.strerror}{hint}") from error
    except UnicodeDecodeError as error:
        byte = f"byte {error.object[error.start]:#04x} at offset {error.start}"
        raise UserError(f"{path} is no UTF-8 text: {byte}") from error
    if len(text) < least:
        what = "is empty" if not text else f"has {len(text):,} characters"
        raise UserError(f"{path} {what}; at least {least:,} are needed")
    return text


def _nearest(path: Path) -> list[str]:
    folder = path.parent
    names = [each.name for each in folder.iterdir()] if folder.is_dir() else []
    return difflib.get_close_matches(path.name, names, n=2)


def vocabulary(text: str) -> str:
    """The distinct characters of a text in code-point order: character k is number k."""
    return "".join(sorted(set(text)))


def encode(text: str, vocabulary: str, name: str = "the text") -> np.ndarray:
    """int32[len(text)]; UserError names the first character that the vocabulary lacks."""
    index = {character: k for k, character in enumerate(vocabulary)}
    try:
        return np.fromiter((index[c] for c in text), np.int32, len(text))
    except KeyError as error:
        character = error.args[0]
        raise UserError(
            f"{name} has {character!r} (U+{ord(character):04X}) at position "
            f"{text.index(character)}, which the net has never seen; it knows {vocabulary!r}"
        ) from None


def decode(tokens: np.ndarray, vocabulary: str) -> str:
    """The text that `encode` makes these numbers of."""
    return "".join(vocabulary[int(token)] for token in tokens)
