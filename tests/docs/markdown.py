"""Markdown pages as their code: fenced blocks, the commands in them, code spans and links."""

import re
import shlex
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

_FENCE = re.compile(r" *```(\S*)")
_SPAN = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")


class Block(NamedTuple):
    """A fenced block."""

    where: str  # page:line of its fence
    language: str
    text: str


class Command(NamedTuple):
    """A command line, with the output that the page prints below it."""

    where: str
    text: str
    output: list[str]

    def words(self) -> list[str]:
        """Its words without comments, `exec`, variables and the interpreter before a script."""
        words = shlex.split(self.text, comments=True)
        while words and (re.fullmatch(r"[A-Z_]+=\S*", words[0]) or words[0] == "exec"):
            words = words[1:]
        if len(words) > 1 and Path(words[0]).name == "python" and words[1].endswith(".py"):
            return words[1:]
        return words

    def script(self) -> str | None:
        """The name of the script in `scripts/` that it runs."""
        first = self.words()[0]
        return Path(first).name if first.startswith("scripts/") else None


def name_of(page: Path) -> str:
    """The page's path within the repository."""
    return page.relative_to(ROOT).as_posix()


def _parts(page: Path) -> tuple[list[Block], list[str]]:
    """The blocks, and the page's lines with those of blocks left empty."""
    blocks, prose, start, language = [], [], None, ""
    lines = page.read_text("utf-8").split("\n")
    for number, line in enumerate(lines):
        fence = _FENCE.match(line)
        if fence and start is None:
            start, language = number, fence[1]
        elif fence and start is not None:
            text = "\n".join(lines[start + 1 : number]) + "\n"
            blocks.append(Block(f"{name_of(page)}:{start + 1}", language, text))
            start = None
        elif start is None:
            prose.append(line)
            continue
        prose.append("")
    assert start is None, f"{name_of(page)}:{start}: a block without an end"
    return blocks, prose


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    return _parts(page)[0]


def indented_blocks(page: Path) -> list[str]:
    """Where the page has indented code, which says no language."""
    found, is_list = [], False
    lines = _parts(page)[1]
    for number, (before, line) in enumerate(zip(["", *lines], lines, strict=False), 1):
        if re.match(r"([*+-]|\d+\.) ", line):
            is_list = True
        elif line and not line.startswith(" "):
            is_list = False
        if line.startswith("    ") and not before and not is_list:
            found.append(f"{name_of(page)}:{number}")
    return found


def commands(block: Block) -> list[Command]:
    """The commands of a bash block, or of a console block (after `$ `) with their outputs."""
    page, first = block.where.rsplit(":", 1)
    found: list[Command] = []
    text = ""
    for number, line in enumerate(block.text.splitlines(), int(first) + 1):
        if text:
            text += line.strip()
        elif block.language == "console" and not line.startswith("$ "):
            assert found, f"{page}:{number}: an output before the first command"
            found[-1].output.append(line)
            continue
        else:
            text = line.removeprefix("$ ")
        if text.endswith("\\"):
            text = text.removesuffix("\\")
        else:
            if shlex.split(text, comments=True):
                found.append(Command(f"{page}:{number}", text, []))
            text = ""
    return found


def spans(page: Path) -> list[Command]:
    """The code spans in the prose of a page, line breaks in them as spaces."""
    text = "\n".join(_parts(page)[1])
    found = []
    for paragraph in re.finditer(r"(?:.+\n?)+", text):
        for span in _SPAN.finditer(paragraph[0]):
            line = text.count("\n", 0, paragraph.start() + span.start()) + 1
            words = " ".join(span[2].split())
            found.append(Command(f"{name_of(page)}:{line}", words, []))
    return found


def links(page: Path) -> list[str]:
    """The targets of the page's links and pictures."""
    return _LINK.findall("\n".join(_parts(page)[1]))


def anchors(page: Path) -> set[str]:
    """The names under which GitHub links to the page's headings."""
    found: set[str] = set()
    for heading in re.findall(r"(?m)^#+ (.+)$", "\n".join(_parts(page)[1])):
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        twins = sum(re.fullmatch(rf"{re.escape(slug)}(-\d+)?", each) is not None for each in found)
        found.add(slug if not twins else f"{slug}-{twins}")
    return found
