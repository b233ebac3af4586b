"""What every command does before its work: errors as one line, the device, the compile cache."""

import contextlib
import io
import os
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from dqnlab import machine
from dqnlab.plurals import count
from dqnlab.types import UserError

USAGE_ERROR = 2  # exit code of every mistake that the user can mend


@contextlib.contextmanager
def user_errors() -> Iterator[None]:
    """Print a UserError as one line and exit with code 2; other errors keep their traceback."""
    accept_all_characters()
    try:
        machine.check_system()
        yield
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(USAGE_ERROR)
    except KeyboardInterrupt:  # what can be saved has handlers of its own
        print("\nstopped", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # `| head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def accept_all_characters() -> None:
    """Let stdout and stderr print "?" for a character that their encoding lacks."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a notebook has others, and they take all
            stream.reconfigure(errors="replace")


def select_device(name: str) -> str:
    """Make JAX use `auto`, `cpu` or `gpu`, and keep compiled programs between starts.

    Return a line that names the device that is used. Raise UserError where there is none.
    """
    if name not in ("auto", "cpu", "gpu"):
        raise UserError(f"--device is {name}; it must be auto, cpu or gpu")
    # JAX would take three quarters of a GPU at the start, and leave too little for a second
    # process: evaluation beside training.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    if name == "cpu":
        jax.config.update("jax_platforms", "cpu")
    elif name == "gpu":
        # The flag goes before the environment: under JAX_PLATFORMS=cpu,cuda JAX would compute on
        # the CPU. Without a list, GPUs come first.
        jax.config.update("jax_platforms", None)
    device = _default_device(name)
    if name != "auto" and device.platform != name:
        problem = _unused_gpu() or f"JAX computes on {device.platform}, and finds no {name}"
        raise UserError(f"--device {name}: {problem}")
    _keep_compiled_programs(device.platform)
    line = f"{device.device_kind} ({device.platform}), {count(machine.num_cores(), 'core')}"
    if device.platform == "cpu" and not _wanted_platforms() and (unused := _unused_gpu()):
        line += f"; {unused}"
    return line


def cache_folder(platform: str) -> Path | None:
    """Return the folder of programs compiled for cpu or gpu; None where none can be made.

    JAX trusts this cache: whoever can write to it can run code. Hence the user's own cache
    folder, closed to others, and never a run folder, which people pass around.

    For the CPU there is one for each number of cores: XLA divides a program's work among them as it
    compiles, JAX does not ask how many there were, and what one core compiled is 1.3 times as slow
    on two. Programs for a GPU do not depend on cores.
    """
    try:
        folder = os.environ.get("JAX_COMPILATION_CACHE_DIR")
        kind = f"{machine.num_cores()}-cores" if platform == "cpu" else platform
        path = Path(folder) if folder else machine.cache_folder() / f"jax-{kind}"
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError:  # a read-only or missing home only costs compilation time
        return None
    return path


def _default_device(name: str) -> Any:
    try:
        return jax.devices()[0]
    except (RuntimeError, AssertionError) as error:  # AssertionError: JAX_PLATFORMS=cuda, no GPU
        if (wanted := _wanted_platforms()) and name == "auto":
            raise UserError(
                f"JAX_PLATFORMS={wanted}: JAX {jax.__version__} finds no such device here; unset "
                "JAX_PLATFORMS, or use --device cpu"
            ) from error
        reason = " ".join(str(error).split())
        raise UserError(f"--device {name}: JAX finds no device ({reason})") from error


def _wanted_platforms() -> str:
    return jax.config.jax_platforms or ""  # type: ignore[attr-defined]


def _unused_gpu() -> str:
    """Why JAX does not use the NVIDIA GPU that is here; empty where there is none."""
    if not (gpu := machine.nvidia_gpu()):
        return ""
    if any(name.startswith("jax_cuda") for _, name, _ in pkgutil.iter_modules()):
        return f"JAX cannot use {gpu}: see its warning above"
    return f"JAX does not use {gpu}: `make setup` installs its CUDA build"


def _keep_compiled_programs(platform: str) -> None:
    folder = cache_folder(platform)
    if folder is not None and not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
