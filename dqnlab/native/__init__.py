"""The layers' kernels in C++, compiled for this machine when they are first needed.

XLA:CPU takes a convolution's matrix products apart into passes over memory; `amx.cc` reads the
operands where they lie. It needs Linux, an x86 CPU with AMX and a C++ compiler; where one of them
is missing, or DQNLAB_NATIVE=0 is set, the layers' own JAX code does the work.
"""

import ctypes
import functools
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import jax

SOURCE = Path(__file__).with_name("amx.cc")
TARGETS = (
    *("dqnlab_conv_forward", "dqnlab_conv_input_gradient", "dqnlab_conv_weight_gradient"),
    *("dqnlab_dense_forward", "dqnlab_dense_input_gradient", "dqnlab_dense_weight_gradient"),
    *("dqnlab_pool_forward", "dqnlab_pool_gradient"),
)
_CPU_FLAGS = {"amx_tile", "amx_bf16", "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_bf16"}
_FLAGS = (
    *("-std=c++17", "-O3", "-shared", "-fPIC", "-pthread", "-mamx-tile", "-mamx-bf16"),
    *("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx512bf16"),
)


def has_amx() -> bool:
    """Whether XLA can call `amx.cc` here; compiles it, once, where it can."""
    return missing() is None


@functools.cache
def missing() -> str | None:
    """What there is not that `amx.cc` needs, in words; None: it is ready to be called."""
    if os.environ.get("DQNLAB_NATIVE") == "0":
        return "DQNLAB_NATIVE=0"
    if not _cpu_flags() >= _CPU_FLAGS:
        return "a CPU with AMX"
    compiler = next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))), None)
    if compiler is None:
        return "a C++ compiler (c++, g++ or clang++)"
    try:
        library = ctypes.CDLL(str(_compiled(compiler)))
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:  # RuntimeError: no home
        return f"a C++ compiler that takes {SOURCE.name} ({_reason(error)})"
    if not library.dqnlab_request_tiles():
        return "a Linux kernel that lends AMX (5.16 or newer)"
    for name in TARGETS:
        capsule = jax.ffi.pycapsule(getattr(library, name))
        jax.ffi.register_ffi_target(name, capsule, platform="cpu")
    return None


def _compiled(compiler: str) -> Path:
    """The library, from the user's own cache if it is there (whoever can write there runs code)."""
    version = subprocess.run([compiler, "--version"], capture_output=True, check=True, timeout=60)
    parts = (SOURCE.read_bytes(), repr(_FLAGS).encode(), version.stdout, jax.__version__.encode())
    name = f"amx-{hashlib.sha256(b'|'.join(parts)).hexdigest()[:16]}.so"
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    path = root / "dqnlab" / "native" / name
    if path.exists():
        return path
    print(f"compiling {SOURCE.name} for this machine, once", file=sys.stderr)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        built = Path(folder) / name
        command = [compiler, *_FLAGS, f"-I{jax.ffi.include_dir()}", str(SOURCE), "-o", str(built)]
        subprocess.run(command, capture_output=True, check=True, timeout=300)
        built.replace(path)  # at once: another process may be doing the same
    return path


def _cpu_flags() -> set[str]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:  # not Linux
        return set()
    line = next((line for line in text.splitlines() if line.startswith("flags")), "")
    return set(line.partition(":")[2].split())


def _reason(error: Exception) -> str:
    output = getattr(error, "stderr", None) or b""
    lines = [line for line in output.decode(errors="replace").splitlines() if "error" in line]
    return lines[0].strip() if lines else str(error)
