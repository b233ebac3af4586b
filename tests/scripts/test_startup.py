"""What every command does before its work."""

import os

import pytest

from scripts import startup


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    return tmp_path / "cache"


def test_programs_compiled_for_another_number_of_cores_are_kept_apart(cache, monkeypatch):
    folders = set()
    for cores in ({0}, {0, 1}, {2, 3}):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, cores=cores: cores)
        folder = startup.cache_folder()
        assert folder is not None
        assert folder.is_relative_to(cache)
        assert folder.stat().st_mode & 0o777 == 0o700  # what is there is run
        folders.add(folder)
    assert len(folders) == 2


def test_a_named_folder_is_taken_as_it_is(cache, tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "mine"))
    assert startup.cache_folder() == tmp_path / "mine"


def test_without_a_place_for_them_programs_are_compiled_each_time(cache):
    cache.write_text("not a folder")
    assert startup.cache_folder() is None
