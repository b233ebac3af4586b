"""The machine: cores, memory, the CPU's instructions, the user's cache folder, GPUs, file locks.

Asked here and nowhere else: Linux and macOS answer these questions in different ways.
"""

import functools
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import psutil

from dqnlab.types import UserError

INSTALL_COMPILER = (
    "xcode-select --install"
    if sys.platform == "darwin"
    else "apt install g++ (or another package that has it)"
)
_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUPS = Path("/proc/self/cgroup")
_MEMORY_FILES = {
    2: ("memory.max", "memory.current"),
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes"),
}


def check_system() -> None:
    """Raise UserError on a system other than Linux and macOS."""
    if importlib.util.find_spec("fcntl") is None:
        raise UserError(
            f"dqnlab runs on Linux and macOS, not on {platform.system()}: it needs POSIX file "
            "locks. On Windows, run it in WSL (Windows Subsystem for Linux)"
        )


def lock(file: IO[Any], wait: bool = False) -> None:
    """Lock an open file until it is closed or the process ends, however it ends.

    Raises:
      BlockingIOError: another process holds the lock, and `wait` is false.
      OSError: the file system has no locks.
      UserError: the operating system has none of this kind.
    """
    check_system()
    import fcntl

    fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)


def cache_folder() -> Path:
    """Return `dqnlab` in the user's cache folder ($XDG_CACHE_HOME, or else ~/.cache).

    It need not exist. Raises OSError where the user has no home folder.
    """
    if root := os.environ.get("XDG_CACHE_HOME"):
        return Path(root) / "dqnlab"
    try:
        return Path.home() / ".cache" / "dqnlab"
    except RuntimeError as error:
        raise OSError(None, "the user has no home folder; set XDG_CACHE_HOME") from error


def num_cores() -> int:
    """Return the number of CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux; containers and taskset may allow only some
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@functools.cache
def cpu_features() -> frozenset[str]:
    """Return the CPU's instruction sets as Linux spells them; empty where the system names none."""
    lines = (each for each in _cpu_info() if each.startswith(("flags", "Features")))
    return frozenset(next(lines, "").partition(":")[2].split())


@functools.cache
def cpu_name() -> str:
    """Return the model of the CPU, or else its architecture."""
    for line in _cpu_info():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    told = _output("sysctl", "-n", "machdep.cpu.brand_string") if sys.platform == "darwin" else ""
    return told or platform.processor() or platform.machine()


def nvidia_gpu() -> str:
    """Return the NVIDIA driver's line for the first GPU; empty where there is none."""
    return _output("nvidia-smi", "-L").partition("\n")[0]


def peak_memory() -> int:
    """Return the most bytes that this process has had in memory so far."""
    import resource

    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size if sys.platform == "darwin" else size * 1024  # Linux counts in KiB


def free_memory(root: Path = _CGROUPS, own: Path = _OWN_CGROUPS) -> int:
    """Return the bytes that can be allocated before the kernel ends the process.

    Containers and cluster jobs are cgroups; a limit on any folder above a process's own holds too.

    Args:
      root: where the cgroups are mounted.
      own: the file that names those of this process.
    """
    free = int(psutil.virtual_memory().available)
    for version, folder in _cgroups(root, own):
        limit, usage = (_number(folder / name) for name in _MEMORY_FILES[version])
        if limit is not None and usage is not None:
            free = min(free, max(0, limit - usage + _reclaimable(folder)))
    return free


def free_device_memory(device: Any) -> int | None:
    """Return the bytes that can be allocated on a JAX device; None where it does not tell."""
    if device.platform == "cpu":
        return free_memory()
    stats = device.memory_stats() or {}
    if "bytes_limit" not in stats:
        return None
    return max(0, int(stats["bytes_limit"]) - int(stats.get("bytes_in_use", 0)))


def _cpu_info() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # macOS
        return []


def _output(*command: str) -> str:
    if shutil.which(command[0]) is None:
        return ""
    try:
        done = subprocess.run(command, capture_output=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode(errors="replace").strip()


def _cgroups(root: Path, own: Path) -> Iterator[tuple[int, Path]]:
    yield 2, root  # what a container sees of its own cgroup, whatever its name is outside
    yield 1, root / "memory"
    try:
        lines = own.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:  # "0::/slurm/job7" in version 2, "9:memory:/slurm/job7" in version 1
        _, controllers, path = line.split(":", 2)
        if controllers in ("", "memory"):
            version, top = (1, root / "memory") if controllers else (2, root)
            folder = top / path.lstrip("/")
            yield version, folder
            yield from ((version, each) for each in folder.parents if each.is_relative_to(top))


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # "max": no limit
        return None


def _reclaimable(folder: Path) -> int:
    # The page cache counts as used, but is given back when somebody needs it.
    try:
        lines = (folder / "memory.stat").read_text(encoding="utf-8").splitlines()
        values = dict(line.split() for line in lines)
        return int(values.get("total_inactive_file", values.get("inactive_file", 0)))
    except (OSError, ValueError):
        return 0
