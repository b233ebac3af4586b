"""How much memory a process may still take: the machine's, or its cgroup's if that is less."""

from collections.abc import Iterator
from pathlib import Path

import psutil

_ROOT = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")
_FILES = {
    2: ("memory.max", "memory.current"),
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes"),
}


def available(root: Path = _ROOT, own: Path = _OWN) -> int:
    """Bytes that can be allocated before the kernel ends the process.

    Containers and cluster jobs are cgroups; a limit on any folder above a process's own holds too.

    Args:
      root: where the cgroups are mounted.
      own: the file that names those of this process.
    """
    free = int(psutil.virtual_memory().available)
    for version, folder in _folders(root, own):
        limit, usage = (_number(folder / name) for name in _FILES[version])
        if limit is not None and usage is not None:
            free = min(free, max(0, limit - usage + _reclaimable(folder)))
    return free


def _folders(root: Path, own: Path) -> Iterator[tuple[int, Path]]:
    yield 2, root  # what a container sees of its own cgroup, whatever its name is outside
    yield 1, root / "memory"
    try:
        lines = own.read_text().splitlines()
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
        return int(path.read_text())
    except (OSError, ValueError):  # "max": no limit
        return None


def _reclaimable(folder: Path) -> int:
    # The page cache counts as used, but is given back when somebody needs it.
    try:
        values = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        return int(values.get("total_inactive_file", values.get("inactive_file", 0)))
    except (OSError, ValueError):
        return 0
