"""What every command does before its work: errors as one line, the device, the compile cache."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import jax

from dqnlab.types import UserError

USAGE_ERROR = 2  # exit code of every mistake that the user can mend


@contextlib.contextmanager
def user_errors() -> Iterator[None]:
    """Print a UserError as one line and exit with code 2; other errors keep their traceback."""
    try:
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


def select_device(name: str) -> str:
    """Make JAX use `auto`, `cpu` or `gpu`, and keep compiled programs between starts.

    Returns a line that names the device. Raises UserError where a GPU is asked for and absent.
    """
    if name == "cpu":
        jax.config.update("jax_platforms", "cpu")
    _keep_compiled_programs()
    try:
        devices = jax.devices("gpu" if name == "gpu" else None)
    except RuntimeError as error:
        raise UserError(
            f"--device {name}: JAX finds no such device (installed: jax {jax.__version__}, "
            "`make setup` installs the CUDA build where it sees an NVIDIA GPU); use --device cpu"
        ) from error
    return f"{devices[0].device_kind} ({devices[0].platform}), {len(os.sched_getaffinity(0))} cores"


def cache_folder() -> Path | None:
    """Where compiled programs are kept between starts; None where no folder can be made.

    JAX trusts this cache: whoever can write to it can run code. Hence the user's own cache
    folder, closed to others, and never a run folder, which people pass around.

    One for each number of cores: XLA divides a program's work among them as it compiles, JAX does
    not ask how many there were, and what one core compiled is 1.3 times as slow on two.
    """
    try:
        folder = os.environ.get("JAX_COMPILATION_CACHE_DIR")
        root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        own = root / "dqnlab" / f"jax-{len(os.sched_getaffinity(0))}-cores"
        path = Path(folder) if folder else own
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    except (OSError, RuntimeError):  # a read-only or missing home only costs compilation time
        return None
    return path


def _keep_compiled_programs() -> None:
    folder = cache_folder()
    if folder is not None and not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
