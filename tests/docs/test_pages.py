"""Every command and code block of README.md and docs/ is run, as it is printed."""

import functools
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.docs import ready, small
from tests.docs.markdown import PAGES, ROOT, blocks, commands, indented_blocks, name_of
from tests.docs.sandbox import Sandbox

WITH_BLOCKS = [name_of(page) for page in PAGES if blocks(page)]
WITH_SLOW_ONES = [
    name_of(page)
    for page in PAGES
    if any(
        small.is_slow(command)
        for block in blocks(page)
        if block.language in ("bash", "console")
        for command in commands(block)
    )
]


@pytest.fixture(scope="module")
def ready_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The ready-made run of a name, made once."""

    @functools.cache
    def make(name: str) -> Path:
        return ready.make(name, tmp_path_factory.mktemp("ready") / name)

    return make


def problems(page: str, folder: Path, runs: dict[str, Path], is_slow: bool) -> list[str]:
    sandbox, found = Sandbox(folder, runs, is_slow), []
    try:
        for block in blocks(ROOT / page):
            found += sandbox.run(block)
    finally:
        found += sandbox.close()
    return found


def check(page, is_slow, ready_run, tmp_path, monkeypatch):
    runs = {where: ready_run(name) for where, name in small.READY.get(page, {}).items()}
    monkeypatch.chdir(tmp_path)
    found = problems(page, tmp_path, runs, is_slow)
    assert found == [], "\n\n".join(found)


@pytest.mark.parametrize("page", WITH_BLOCKS)
def test_every_block_of_a_page_does_what_it_says(page, ready_run, tmp_path, monkeypatch):
    check(page, False, ready_run, tmp_path, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("page", WITH_SLOW_ONES)
def test_every_block_with_the_slow_ones_too(page, ready_run, tmp_path, monkeypatch):
    check(page, True, ready_run, tmp_path, monkeypatch)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_says_its_language_and_hides_no_command(page):
    assert indented_blocks(page) == []
    for block in blocks(page):
        assert block.language in ("bash", "console", "python", "diff", "text"), block.where
        if block.language == "text":
            assert not any(
                line.startswith(("$ ", "python ", "make ", "import "))
                for line in block.text.splitlines()
            ), block.where
