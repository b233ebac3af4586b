"""How much memory a process may still take: the machine's, or its container's if that is less."""

from pathlib import Path

import psutil

_CGROUP = Path("/sys/fs/cgroup")


def available(cgroup: Path = _CGROUP) -> int:
    """Bytes that can be allocated before the kernel ends the process."""
    machine = int(psutil.virtual_memory().available)
    for limit, usage in (
        ("memory.max", "memory.current"),  # cgroup v2
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),  # v1
    ):
        allowed, used = _number(cgroup / limit), _number(cgroup / usage)
        if allowed is not None and used is not None:
            return min(machine, max(0, allowed - used + _reclaimable(cgroup / limit)))
    return machine


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # "max": no limit
        return None


def _reclaimable(limit: Path) -> int:
    # The page cache counts as used, but is given back when somebody needs it.
    try:
        lines = (limit.parent / "memory.stat").read_text().splitlines()
        values = dict(line.split() for line in lines)
        return int(values.get("inactive_file", values.get("total_inactive_file", 0)))
    except (OSError, ValueError):
        return 0
