"""What `doctor.py` looks at: each check yields findings, and imports what it looks at itself."""

import contextlib
import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
SETUP = "make setup"
_STEPS = 200  # of a real game; enough to leave the start screen
_DETERMINISM = "--xla_gpu_deterministic_ops=true"


class Finding(NamedTuple):
    """One line of the examination."""

    status: Literal["ok", "note", "fail"]  # only `fail` keeps training from working
    text: str
    remedy: str = ""  # the command that mends it


def check_python() -> Iterator[Finding]:
    """The interpreter and the operating system."""
    good = sys.version_info >= (3, 11)
    text = f"{platform.python_version()} at {sys.executable}, {platform.platform()}"
    yield Finding("ok" if good else "fail", text, "" if good else "make setup PYTHON=python3.11")
    if importlib.util.find_spec("fcntl") is None:
        text = f"dqnlab runs on Linux and macOS, not on {platform.system()}"
        yield Finding("fail", text, "on Windows, use WSL (Windows Subsystem for Linux)")


def check_packages() -> Iterator[Finding]:
    """Every dependency: there, new enough, and whether it is the version the tests passed with."""
    with open(ROOT / "pyproject.toml", "rb") as file:
        project = tomllib.load(file)["project"]
    needed = dict(map(_requirement, project["dependencies"]))
    lines = (ROOT / "constraints.txt").read_text("utf-8").split()
    pinned = {_plain(name): version for name, _, version in (x.partition("==") for x in lines)}
    good, other = [], []
    for name, lower in needed.items():
        version = _version(name)
        if version is None:
            yield Finding("fail", f"{name} is not installed", SETUP)
        elif _parts(version) < _parts(lower):
            yield Finding("fail", f"{name} {version} is older than {lower}", SETUP)
        elif version == (tested := pinned.get(_plain(name), "any version")):
            good.append(f"{name} {version}")
        else:
            other.append(f"{name} {version} (tested with {tested})")
    if good:
        yield Finding("ok", ", ".join(good))
    if other:
        yield Finding("note", "not the versions that the tests passed with: " + ", ".join(other))


def check_devices() -> Iterator[Finding]:
    """What JAX computes on, and in which type."""
    import jax

    from agents import networks
    from dqnlab import machine, native

    devices = jax.devices()
    kinds = ", ".join(dict.fromkeys(f"{each.device_kind} ({each.platform})" for each in devices))
    computes = networks.compute_type("auto").name
    yield Finding("ok", f"{len(devices)} x {kinds}; --precision auto computes in {computes}")
    yield Finding("ok", f"{machine.num_cores()} CPU cores that this process may use")
    if devices[0].platform == "cpu":
        if missing := native.missing(computes):
            mend = machine.INSTALL_COMPILER if "C++" in missing else ""
            yield Finding("note", f"half the speed: dqnlab's kernels lack {missing}", mend)
        else:
            yield Finding("ok", "layers by dqnlab's own kernels")
        if gpu := machine.nvidia_gpu():
            yield Finding("note", f"JAX does not use {gpu}", SETUP)


def check_emulator() -> Iterator[Finding]:
    """Every ROM's checksum, and a real game that is played for a moment."""
    import numpy as np

    import envs
    from dqnlab.types import UserError
    from envs import names

    bad = []
    for game in names.atari_games():
        try:
            with contextlib.redirect_stdout(None):  # ale-py says where it looks, each time
                names.rom_of(game)
        except UserError as error:
            bad.append(str(error))
    count = len(names.atari_games())
    if bad:
        unset = "unset ALE_ROMS_DIR" if os.environ.get("ALE_ROMS_DIR") else SETUP
        yield Finding("fail", f"{len(bad)} of {count} ROMs are unusable: {bad[0]}", unset)
        return
    yield Finding("ok", f"ale-py {_version('ale-py')}, {count} ROMs, all checksums right")
    env = envs.make("Pong", 8)
    try:
        token, timestep = env.reset(0)
        rng, pictures = np.random.default_rng(0), {np.asarray(timestep.obs).tobytes()}
        started = time.perf_counter()
        for _ in range(_STEPS):
            token, timestep = env.step(token, rng.integers(0, env.spec.num_actions, 8, np.int32))
            pictures.add(np.asarray(timestep.obs).tobytes())
        speed = 8 * _STEPS * env.spec.frame_skip / (time.perf_counter() - started)
    finally:
        env.close()
    moves = f"{len(pictures)} different pictures in {_STEPS} steps"
    if len(pictures) < _STEPS // 4:
        yield Finding("fail", f"Pong does not move: {moves}")
    else:
        yield Finding("ok", f"Pong plays: {moves}, {speed:,.0f} frames/s with 8 games")


def check_memory() -> Iterator[Finding]:
    """What is free, and what replay fits into it."""
    import jax

    from agents.replay import ring
    from dqnlab import machine
    from envs.make import make

    env = make("Pong", 8)
    try:
        spec = env.spec
    finally:
        env.close()
    device = jax.devices()[0]
    free, where = machine.free_device_memory(device), "on the device"
    if device.platform == "cpu" or free is None:
        free, where = machine.free_memory(), "of memory"
    each = ring.num_bytes(spec, 80_000) / 80_000
    fits = int(0.8 * free / each) // 1000 * 1000
    text = f"{free / 1e9:.1f} GB {where} are free: --replay-capacity up to {fits:,} frames"
    yield Finding("ok" if fits >= 10_000 else "fail", text)
    for preset, frames in (("laptop", 250_000), ("nature", 1_000_000)):
        size = ring.num_bytes(spec, frames) / 1e9
        fit = "fits" if frames <= fits else f"does not fit; use --replay-capacity {fits}"
        text = f"preset {preset}: {frames:,} frames, {size:.2f} GB, {fit}"
        yield Finding("ok" if frames <= fits else "note", text)


def check_disk() -> Iterator[Finding]:
    """Room for runs, and the cache that saves compiling again."""
    runs = ROOT / "runs"
    where = runs if runs.exists() else ROOT
    free = shutil.disk_usage(where).free
    if not os.access(where, os.W_OK):
        yield Finding("note", f"{where} is read-only: name a folder with --run-dir")
    # 250,000 frames compress to 0.1 .. 0.5 GB; the two checkpoints kept share most of them.
    enough = free > 1_000_000_000
    text = f"{free / 1e9:.1f} GB free for runs, which take 0.1 to 0.5 GB each"
    yield Finding("ok" if enough else "fail", text, "" if enough else "free some, or --run-dir")
    import jax

    from scripts import startup

    cache = startup.cache_folder(jax.devices()[0].platform)
    if cache is None:
        yield Finding("note", "no folder to keep compiled programs in: each start compiles again")
    elif (mode := cache.stat().st_mode) & 0o022:
        text = f"others can write to {cache}, and what is there is run ({mode & 0o777:o})"
        yield Finding("note", text, f"chmod 700 {cache}")
    else:
        yield Finding("ok", f"compiled programs are kept in {cache}")


def check_determinism() -> Iterator[Finding]:
    """Whether the same seed gives the same bits here."""
    import jax

    flags = os.environ.get("XLA_FLAGS", "")
    if jax.devices()[0].platform == "cpu":
        yield Finding("ok", "same seed, same bits: CPU, with the same versions and kind of CPU")
    elif _DETERMINISM in flags:
        yield Finding("ok", f"XLA_FLAGS has {_DETERMINISM}: same bits on the same model of GPU")
    else:
        yield Finding(
            "note",
            "on a GPU the same seed gives statistically equal runs, not equal bits",
            f"export XLA_FLAGS={_DETERMINISM}",
        )
    named = ("JAX_", "XLA_", "CUDA_", "ALE_")
    found = [f"{k}={v}" for k, v in sorted(os.environ.items()) if k.startswith(named)]
    if found:
        yield Finding("note", "set in the environment: " + ", ".join(found))


def check_extras() -> Iterator[Finding]:
    """What single commands need, and training does not."""
    import imageio_ffmpeg

    yield Finding("ok", f"videos: ffmpeg {imageio_ffmpeg.get_ffmpeg_version()}")
    pip = f"{Path(sys.executable).parent / 'python'} -m pip install"
    for module, what in (
        ("tensorboard", "the viewer of the curves that runs write"),
        ("playwright", "the tests of pages in a browser"),
    ):
        if importlib.util.find_spec(module) is None:
            yield Finding("note", f"{module} is not installed: {what}", f"{pip} {module}")
        else:
            yield Finding("ok", f"{module} {_version(module)}: {what}")
    if shutil.which("git") is None:
        yield Finding("note", "git is not installed: runs do not record their commit")


CHECKS: dict[str, Callable[[], Iterator[Finding]]] = {
    "python": check_python,
    "packages": check_packages,
    "devices": check_devices,
    "emulator": check_emulator,
    "memory": check_memory,
    "disk": check_disk,
    "determinism": check_determinism,
    "extras": check_extras,
}


def _requirement(text: str) -> tuple[str, str]:
    found = re.match(r"([A-Za-z0-9_.-]+)(?:\[[^]]*\])?(?:>=([0-9.]+))?", text)
    assert found is not None  # pyproject.toml is ours
    return found[1], found[2] or "0"


def _plain(name: str) -> str:
    """Return the spelling of a package's name by which pip compares: jinja2 for Jinja2."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
