"""A torso's weights carried from one net to another: Q-network, classifier, autoencoder."""

from pathlib import Path
from typing import Any

import jax.numpy as jnp

from dqnlab import weights
from dqnlab.types import Params, UserError

TORSOS = ("nature_torso", "centred_nature_torso", "impala_torso")  # as Haiku names the modules


def torso_of(params: Params) -> dict[str, Any]:
    """The part of a net's parameters that is its torso's, named from the torso on.

    Empty where the net has none: those of small vectors and images are no use to others.
    """
    found = {}
    for module, arrays in params.items():
        parts = module.split("/")
        if (start := next((i for i, part in enumerate(parts) if part in TORSOS), None)) is not None:
            found["/".join(parts[start:])] = arrays
    return found


def is_centred(torso: Params) -> bool:
    """Whether a torso was learnt with `NatureTorso(centred=True)`; its weights fit no other."""
    return any(module.startswith("centred_") for module in torso)


def width(torso: Params) -> float:
    """The `width` of a `NatureTorso` with these weights."""
    first = next(arrays["w"] for name, arrays in torso.items() if name.endswith("torso/conv2_d"))
    return float(first.shape[-1] / 32)


def with_torso(params: Params, torso: Params, where: str) -> Params:
    """`params` with the weights of `torso`, which `torso_of` gave.

    Args:
      where: the torso's origin, which errors begin with.

    Raises UserError where one of the two has layers that the other has not, or other shapes.
    """
    ours, theirs = _shapes(torso_of(params)), _shapes(torso)
    if not ours or not theirs:
        lacks = "the net to start has" if not ours else f"{where} has"
        raise UserError(f"{lacks} no torso to share; torsos are: {', '.join(TORSOS)}")
    if different := sorted(k for k in ours | theirs if ours.get(k) != theirs.get(k)):
        key = different[0]
        raise UserError(
            f"the torso of {where} does not fit: {key} is {theirs.get(key, 'missing')}, needed is "
            f"{ours.get(key, 'nothing')} ({len(different)} differences); frames, stack, torso, its "
            "width and --centre-frames must be the same"
        )
    carried = dict(params)
    for module in params:
        for name, arrays in torso.items():
            if module == name or module.endswith(f"/{name}"):
                carried[module] = {key: jnp.asarray(array) for key, array in arrays.items()}
    return carried


def load_torso(run_dir: str | Path) -> dict[str, Any]:
    """The torso of a run folder, of an agent or a supervised net: of its best weights or its last.

    Raises UserError where there are none.
    """
    folder = Path(run_dir) / "weights"
    numbered = sorted(path for path in folder.glob("*.safetensors") if path.stem.isdigit())
    for path in (folder / "best.safetensors", *reversed(numbered), folder / "last.safetensors"):
        if path.exists():
            tree, _ = weights.load_weights(path)
            mark = "params:"
            params = {k.removeprefix(mark): v for k, v in tree.items() if k.startswith(mark)}
            return torso_of(params)
    raise UserError(f"{run_dir} has no weights to start from: it is no run folder with a net")


def _shapes(torso: Params) -> dict[str, str]:
    return {
        f"{module}|{name}": f"{array.dtype}{list(array.shape)}"
        for module, arrays in torso.items()
        for name, array in arrays.items()
    }
