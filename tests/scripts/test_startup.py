"""What every command does before its work."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from dqnlab import machine
from dqnlab.types import UserError
from scripts import startup, train_dqn


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    return tmp_path / "cache"


def test_programs_compiled_for_another_number_of_cores_are_kept_apart(cache, monkeypatch):
    folders = set()
    for cores in (1, 2, 2):
        monkeypatch.setattr(machine, "num_cores", lambda cores=cores: cores)
        folder = startup.cache_folder("cpu")
        assert folder is not None
        assert folder.is_relative_to(cache)
        assert folder.stat().st_mode & 0o777 == 0o700  # what is there is run
        folders.add(folder)
    assert len(folders) == 2


def test_a_named_folder_is_taken_as_it_is(cache, tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "mine"))
    assert startup.cache_folder("cpu") == tmp_path / "mine"


def test_without_a_place_for_them_programs_are_compiled_each_time(cache):
    cache.write_text("not a folder")
    assert startup.cache_folder("cpu") is None


def test_programs_for_a_gpu_are_kept_in_one_folder_for_any_number_of_cores(cache, monkeypatch):
    folders = set()
    for cores in (1, 16):
        monkeypatch.setattr(machine, "num_cores", lambda cores=cores: cores)
        folders.add(startup.cache_folder("gpu"))
    assert folders == {cache / "dqnlab" / "jax-gpu"}


ROOT = Path(__file__).resolve().parents[2]
_PRINT = """
import os, sys
from scripts import startup
with startup.user_errors():
    print(startup.select_device(sys.argv[1]))
    print(os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"])
"""


def select(name: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("JAX_PLAT", "XLA_PYTHON"))}
    return subprocess.run(
        [sys.executable, "-c", _PRINT, name],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**kept, **environment},
        timeout=100,
    )


@pytest.mark.parametrize("platforms", ["cuda", "nonsense"])
def test_platforms_of_the_environment_that_are_not_here_are_one_line(platforms):
    done = select("auto", JAX_PLATFORMS=platforms)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith(f"error: JAX_PLATFORMS={platforms}: ")
    assert "unset JAX_PLATFORMS, or use --device cpu" in done.stderr
    assert select("cpu", JAX_PLATFORMS=platforms).returncode == 0


@pytest.fixture
def fake_gpu(tmp_path):
    """A driver that lists a GPU, which the CPU build of JAX cannot use."""
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho 'GPU 0: NVIDIA Test (UUID: 1)'\n")
    program.chmod(0o755)
    return f"{program.parent}:{os.environ['PATH']}"


def test_a_gpu_that_jax_does_not_use_is_named_with_the_command_that_mends_it(fake_gpu):
    done = select("auto", PATH=fake_gpu)
    assert "(cpu)" in done.stdout
    assert "JAX does not use GPU 0: NVIDIA Test (UUID: 1): `make setup` installs" in done.stdout
    assert done.stdout.splitlines()[-1] == "false"  # a second process finds memory on the GPU
    assert "NVIDIA" not in select("cpu", PATH=fake_gpu).stdout
    refused = select("gpu", PATH=fake_gpu)
    assert refused.returncode == 2
    assert "error: --device gpu: JAX does not use GPU 0" in refused.stderr


def test_the_users_choice_of_preallocation_stays():
    assert select("cpu", XLA_PYTHON_CLIENT_PREALLOCATE="true").stdout.splitlines()[-1] == "true"


def test_make_installs_again_once_a_gpu_has_appeared(fake_gpu, tmp_path):
    # A checkout whose venv was made for the CPU: `make` has nothing to do there.
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / ".installed").touch()

    def planned(path: str) -> str:
        command = ["make", "-n", "setup"]
        environment = {**os.environ, "PATH": path}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True)
        return done.stdout.decode()

    if "pip install" in planned(os.environ["PATH"]):
        pytest.skip("this machine has a GPU")
    assert "-e '.[dev,cuda]'" in planned(fake_gpu)


def test_characters_that_a_terminal_lacks_do_not_end_a_command():
    program = "from scripts import startup\nwith startup.user_errors(): print('1 ± 2 \\u4e16')"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert (done.returncode, done.stdout) == (0, b"1 ? 2 ?\n")


def test_every_command_starts_so():
    for path in (ROOT / "scripts").glob("*.py"):
        _, is_command, start = path.read_text("utf-8").rpartition('if __name__ == "__main__":\n')
        if is_command and path.name not in ("doctor.py", "peer_process.py"):
            assert start.startswith("    with startup.user_errors():\n"), path


def test_text_files_have_the_same_encoding_everywhere():
    for folder in ("dqnlab", "agents", "envs", "scripts"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                assert not isinstance(node, ast.Call) or _is_encoded(node), (path, node.lineno)


def _is_encoded(call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    named = {each.arg for each in call.keywords}
    given = [each.value for each in call.args if isinstance(each, ast.Constant)]
    if "encoding" in named or "utf-8" in given:
        return True
    if name in ("read_text", "write_text"):
        return False
    if isinstance(call.func, ast.Name) and name == "open":
        return any("b" in str(value) for value in given)
    return "text" not in named


def test_a_replay_that_does_not_fit_on_the_device_is_refused(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(machine, "free_device_memory", lambda each: asked.append(each) or 1000)
    args = ["--game", "catch", "--device", "cpu", "--run-dir", str(tmp_path / "run")]
    with pytest.raises(UserError, match=r"the replay would take .* use --replay-capacity"):
        train_dqn.main(args)
    assert asked == [jax.devices()[0]]
