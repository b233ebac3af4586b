"""Commands, flags, files and links that pages and scripts name, wherever they do, exist."""

import ast
import functools
import re
import shlex
from pathlib import Path

import pytest

from tests.docs import parsers
from tests.docs.markdown import (
    PAGES,
    ROOT,
    Command,
    anchors,
    blocks,
    commands,
    links,
    name_of,
    spans,
)

_TARGETS = set(re.findall(r"(?m)^([a-z-]+):", (ROOT / "Makefile").read_text()))
_OTHERS = {"git", "pip", "make", "python"}  # programs that blocks run beside the scripts
_MADE_BY_READERS = {"agents/mean_q.py", "use.py"}

all_flags = functools.cache(parsers.all_flags)


def commands_of(page: Path) -> list[Command]:
    """The commands in blocks and in code spans."""
    found = [
        command
        for block in blocks(page)
        if block.language in ("bash", "console")
        for command in commands(block)
    ]
    for span in spans(page):
        text = span.text
        first = re.match(r"(?:(?:\.venv/bin/)?python )?(?:scripts/)?(\w+\.py) \S", text)
        if first and first[1] in parsers.SCRIPTS:
            text = re.sub(r"(\.venv/bin/)?python |scripts/", "", text)
            found.append(span._replace(text=f"scripts/{text}"))
        elif text.startswith(("make ", ".venv/bin/python ")):
            found.append(span)
    return found


def problem(command: Command) -> str | None:
    words, script = command.words(), command.script()
    if script is not None:
        return parsers.problem(script, words[1:])
    if words[0] == "make":
        unknown = [word for word in words[1:] if word not in _TARGETS and "=" not in word]
        return f"no target {unknown}" if unknown else None
    if words[:3] == [words[0], "-m", "pytest"]:
        missing = [w for w in words if w.startswith("tests/") and not (ROOT / w).exists()]
        return f"no file {missing}" if missing else None
    return (
        None
        if words[0] in _OTHERS | _MADE_BY_READERS
        else "neither a script nor a program of the list"
    )


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_of_a_page_is_taken_by_its_parser(page):
    found = {f"{each.where}: {each.text}": problem(each) for each in commands_of(page)}
    assert {where: says for where, says in found.items() if says} == {}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_flag_that_a_page_names_exists(page):
    flags = {
        flag
        for span in spans(page)
        if re.match(r"--(?!xla_)", span.text)
        for flag in re.findall(r"--[a-z][a-z0-9-]*", span.text)
    }
    assert flags - all_flags() == set()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_file_and_heading_that_a_page_names_exists(page):
    missing = []
    for span in spans(page):
        is_path = re.fullmatch(
            r"(?:agents|dqnlab|envs|scripts|tests)/[\w/]+\.(?:py|cc|h)", span.text
        )
        if is_path and span.text not in _MADE_BY_READERS and not (ROOT / span.text).exists():
            missing.append(f"{span.where}: {span.text}")
    for link in links(page):
        if link.startswith(("http:", "https:")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            missing.append(f"{name_of(page)}: {link}")
    assert missing == []


@pytest.mark.parametrize("script", parsers.SCRIPTS)
def test_every_command_in_the_help_of_a_script_is_taken_by_its_parser(script):
    text = ast.get_docstring(ast.parse((ROOT / "scripts" / script).read_text())) or ""
    lines = re.findall(r"(?m)^ *python (scripts/.*)$", text)
    assert lines, "no example"
    for line in lines:
        name, *args = shlex.split(line, comments=True)
        assert parsers.problem(Path(name).name, args) is None, line


def test_every_script_with_flags_is_known_to_these_tests():
    sources = {path.name: path.read_text() for path in (ROOT / "scripts").glob("*.py")}
    runnable = {name for name, text in sources.items() if '__name__ == "__main__"' in text}
    assert runnable - {"peer_process.py", "peer_loops.py"} == set(parsers.SCRIPTS)
