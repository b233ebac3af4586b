"""The exported file: a zip of the computation as StableHLO, weights included, and its description.

`computation.bin` is what `jax.export.deserialize` reads; `about.json` is for people and programs.
"""

import contextlib
import io
import json
import zipfile
from collections.abc import Iterator

import jax
from jax import export

from dqnlab.types import UserError
from scripts import extras
from scripts.predictor import Predictor

PLATFORMS = ("cpu", "cuda")
FORMAT = 1


def pack(net: Predictor) -> bytes:
    """The file's content. The same net gives the same bytes.

    Raises UserError where the package is missing that serializes.
    """
    extras.need("export", "flatbuffers")
    with _without_source_lines():
        exported = to_stablehlo(net, PLATFORMS)
        computation = exported.serialize()
    outputs = jax.tree.unflatten(exported.out_tree, exported.out_avals)
    about = {
        "format": FORMAT,
        **net.about,
        "input": {
            "shape": ["B", *net.shape],
            "dtype": net.dtype,
            "meaning": net.about["input"],
        },
        "outputs": {
            name: {
                "shape": [*map(str, aval.shape[:1]), *aval.shape[1:]],
                "dtype": aval.dtype.name,
                "meaning": net.about["outputs"][name],
            }
            for name, aval in outputs.items()
        },
        "platforms": list(PLATFORMS),
        "jax": jax.__version__,
        "calling_convention": exported.calling_convention_version,
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, data in (
            ("about.json", json.dumps(about, indent=2).encode()),
            ("computation.bin", computation),
        ):
            file.writestr(zipfile.ZipInfo(name), data)  # dated 1980, not now
    return buffer.getvalue()


def to_stablehlo(net: Predictor, platforms: tuple[str, ...], **options: object) -> export.Exported:
    """The computation for any number of inputs B, lowered for each platform.

    Raises UserError for a net that is written for a known number only.
    """
    (batch,) = export.symbolic_shape("B")
    inputs = jax.ShapeDtypeStruct((batch, *net.shape), net.dtype)
    try:
        return export.export(jax.jit(net.predict), platforms=platforms, **options)(inputs)
    except (TypeError, jax.errors.InconclusiveDimensionOperation) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"this net does not export for any number of inputs: {reason}") from error


@contextlib.contextmanager
def _without_source_lines() -> Iterator[None]:
    # Otherwise each operation carries the paths and lines of all calls that led to it.
    name = "jax_traceback_in_locations_limit"
    before = getattr(jax.config, name)
    jax.config.update(name, 0)
    try:
        yield
    finally:
        jax.config.update(name, before)
