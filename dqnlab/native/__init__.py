"""The layers' kernels in C++, compiled for this machine when they are first needed.

XLA:CPU takes a convolution's products apart into passes over memory; these read the operands where
they lie: `bfloat16.cc` on x86 CPUs that multiply bfloat16, on matrix units (AMX) or in vectors
(AVX512_BF16: AMD's since Zen 4), `simd.cc` in float32 with any CPU's vectors. They need a C++
compiler. Where it is missing, or DQNLAB_NATIVE=0 is set, the layers' own JAX code does the work.
"""

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dqnlab import machine

_FOLDER = Path(__file__).parent
# On ARM, clang knows the CPU by -mcpu only.
_COMPILERS = ("c++", "g++", "clang++")
_NATIVE = "-mcpu=native" if platform.machine() in ("arm64", "aarch64") else "-march=native"


class _Library(NamedTuple):
    source: str
    flags: tuple[str, ...]  # for the compiler
    features: frozenset[str]  # that the CPU must have, as /proc/cpuinfo calls them
    targets: tuple[str, ...]  # what XLA may call


_VECTORS = ("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_bf16")
_MATRICES = ("amx_tile", "amx_bf16")

_LIBRARIES = {
    "bfloat16": _Library(
        "bfloat16.cc",
        tuple(f"-m{name.replace('_', '')}" for name in _VECTORS),
        frozenset(_VECTORS),
        (
            *("conv_bfloat16_forward", "conv_bfloat16_input_gradient"),
            *("conv_bfloat16_weight_gradient", "dense_forward", "dense_input_gradient"),
            *("dense_weight_gradient", "dense_gram", "pool_forward", "pool_gradient"),
            *("layer_norm_forward", "layer_norm_gradient"),
        ),
    ),
    "float32": _Library(
        "simd.cc",
        (_NATIVE, "-ffp-contract=fast"),
        frozenset(),
        (
            *("conv_float32_forward", "conv_float32_input_gradient"),
            "conv_float32_weight_gradient",
        ),
    ),
}


def has(dtype: jnp.dtype) -> bool:
    """Whether XLA can call the kernels of this type on the CPU; compiles them, once."""
    return jnp.dtype(dtype).name in _LIBRARIES and missing(jnp.dtype(dtype).name) is None


def call(name: str, results: Any, *operands: jax.Array, **attributes: Any) -> Any:
    """What the kernel of that name makes of the operands; `results` has its shapes and types.

    For types that it `has`, on CPU. Under `jax.vmap` one call after the other.
    """
    kernel: Callable[..., Any] = jax.ffi.ffi_call(
        f"dqnlab_{name}", results, vmap_method="sequential"
    )
    return kernel(*operands, **attributes)


def instructions(dtype: str) -> str:
    """What the kernels of `float32` or `bfloat16` multiply with on this CPU; "none" without any."""
    if missing(dtype) is not None:
        return "none"
    names = {"AMX": _MATRICES, "AVX512_BF16": _VECTORS}
    if dtype == "float32":  # and fused multiplications with vectors of 16 or 8 numbers
        names = {"AVX512": ("avx512f",), "AVX2": ("avx2", "fma")}
    fitting = (name for name, features in names.items() if machine.cpu_features() >= set(features))
    return next(fitting, platform.machine())


@functools.cache
def missing(dtype: str) -> str | None:
    """What the kernels of `float32` or `bfloat16` lack here, in words; None: they are ready."""
    library = _LIBRARIES[dtype]
    if jax.default_backend() != "cpu":
        return "a CPU to compute on"
    if os.environ.get("DQNLAB_NATIVE") == "0":
        return "DQNLAB_NATIVE other than 0"
    if not machine.cpu_features() >= library.features:
        return "a CPU with AVX512_BF16 or AMX"
    compiler = next(filter(None, map(shutil.which, _COMPILERS)), None)
    if compiler is None:
        return "a C++ compiler (c++, g++ or clang++)"
    try:
        loaded = load(compiler, library)
    except (OSError, subprocess.SubprocessError) as error:
        return f"a C++ compiler that takes {library.source} ({_reason(error)})"
    if dtype == "bfloat16" and not loaded.dqnlab_request_tiles():
        return "a Linux kernel that lends AMX (5.16 or newer)"
    return None


def load(compiler: str, library: _Library, suffix: str = "") -> ctypes.CDLL:
    """Compile a library for this machine and register its functions, `suffix` after their names."""
    loaded = ctypes.CDLL(str(_compiled(compiler, library)))
    for name in library.targets:
        capsule = jax.ffi.pycapsule(getattr(loaded, f"dqnlab_{name}"))
        jax.ffi.register_ffi_target(f"dqnlab_{name}{suffix}", capsule, platform="cpu")
    return loaded


def _compiled(compiler: str, library: _Library) -> Path:
    """The file, from the user's own cache if it is there (whoever can write there runs code)."""
    flags = ["-std=c++17", "-O3", "-shared", "-fPIC", "-pthread"]
    if library.features and machine.cpu_features() >= set(_MATRICES):
        flags += ["-mamx-tile", "-mamx-bf16"]
    flags += library.flags
    version = subprocess.run([compiler, "--version"], capture_output=True, check=True, timeout=60)
    headers = sorted(_FOLDER.glob("*.h"))
    sources = [path.read_bytes() for path in (*headers, _FOLDER / library.source)]
    # A home may be shared by machines with other CPUs.
    names = sorted(machine.cpu_features()) or [machine.cpu_name()]
    cpu = (platform.machine(), *names, jax.__version__, *flags)
    parts = (*sources, version.stdout, repr(cpu).encode())
    digest = hashlib.sha256(b"|".join(parts)).hexdigest()[:16]
    path = machine.cache_folder() / "native" / f"{Path(library.source).stem}-{digest}.so"
    if path.exists():
        return path
    if sys.stderr.isatty():
        print(f"compiling {library.source} for this machine, once", file=sys.stderr)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        built = Path(folder) / path.name
        command = [compiler, *flags, f"-I{jax.ffi.include_dir()}", f"-I{_FOLDER}"]
        command += [str(_FOLDER / library.source), "-o", str(built)]
        subprocess.run(command, capture_output=True, check=True, timeout=300)
        built.replace(path)  # at once: another process may be doing the same
    return path


def _reason(error: Exception) -> str:
    output = getattr(error, "stderr", None) or b""
    lines = [line for line in output.decode(errors="replace").splitlines() if "error" in line]
    return lines[0].strip() if lines else str(error)
