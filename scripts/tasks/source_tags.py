"""Python source as characters, and the kind of token that each belongs to."""

import io
import keyword
import tokenize
from pathlib import Path

import numpy as np

from dqnlab.types import UserError

TAGS = ("space", "name", "keyword", "number", "string", "comment", "operator")
OTHER = 127  # stands for every character beyond ASCII


def tags(source: str) -> np.ndarray:
    """int32[len(source)]: the number in TAGS of each character's token.

    Raises SyntaxError or tokenize.TokenError where the source is no Python.
    """
    starts = np.cumsum([0, *map(len, source.splitlines(keepends=True))])
    result = np.zeros(len(source), np.int32)
    kinds = {tokenize.NUMBER: "number", tokenize.STRING: "string", tokenize.COMMENT: "comment"}
    kinds[tokenize.OP] = "operator"
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        kind = kinds.get(token.type)
        if token.type == tokenize.NAME:
            kind = "keyword" if keyword.iskeyword(token.string) else "name"
        if kind is not None:
            (row, column), (end_row, end_column) = token.start, token.end
            result[starts[row - 1] + column : starts[end_row - 1] + end_column] = TAGS.index(kind)
    return result


def windows(
    paths: list[Path], count: int, size: int, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """`count` random stretches of the files' characters, x int32[count, size], and their tags y.

    Each begins with a line. UserError where the files have fewer such lines.
    """
    xs, ys, starts = [], [], []
    for path in paths:
        source = path.read_text(encoding="utf-8")
        codes = np.minimum(np.frombuffer(source.encode("utf-32-le"), np.uint32), OTHER)
        lines = np.flatnonzero(codes[: len(codes) - size] == ord("\n")) + 1
        starts += [(len(xs), start) for start in lines]
        xs.append(codes.astype(np.int32))
        ys.append(tags(source))
    if len(starts) < count:
        raise UserError(f"--windows: {count} of {size} characters from {len(starts)} lines")
    chosen = [starts[i] for i in rng.choice(len(starts), count, replace=False)]
    x, y = (np.stack([each[k][at : at + size] for k, at in chosen]) for each in (xs, ys))
    return {"x": x, "y": y}
