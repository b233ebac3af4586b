"""Trained nets of supervised runs, from their folders: for inspection, serving, going on.

trained = load("runs/digits-mlp-supervised-s0-...")
probabilities = jax.nn.softmax(trained.predict(images))
"""

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dqnlab import records, run_folder, weights
from dqnlab.types import Params, PyTree, UserError
from scripts.tasks import table
from scripts.tasks.task import Splits, Trained

KIND = "supervised"
INFO = "info.json"


def write(
    run_dir: Path,
    task: str,
    config: Any,
    seed: int,
    info: dict[str, Any],
    example: PyTree,
    options: dict[str, Any],
    data: str = "",
) -> None:
    """Write what `load` needs beside the weights: config.json and info.json.

    `example` is one input of the net, without the batch's axis; `data` the examples' fingerprint.
    """
    values = {
        name: str(value.resolve()) if isinstance(value, Path) else value
        for name, value in dataclasses.asdict(config).items()
    }
    spec = jax.tree.map(lambda x: {"shape": list(x.shape), "dtype": str(x.dtype)}, example)
    content = {"info": info, "x": spec, "data": data}
    run_folder.write_json(run_dir / INFO, content)
    content = {"kind": KIND, "task": task, "seed": seed, "config": values, "options": options}
    run_folder.write_config(run_dir, content)


def fingerprint(splits: Splits) -> str:
    """A hash of all examples, by which a resumed run knows that it has the same data."""
    digest = hashlib.blake2b(digest_size=16)
    for leaf in jax.tree.leaves((splits.train, splits.validation, splits.test)):
        digest.update(f"{leaf.dtype}{leaf.shape}".encode())
        digest.update(np.ascontiguousarray(leaf))
    return digest.hexdigest()


def check_data(run_dir: Path, splits: Splits) -> None:
    """Raise UserError where the run in that folder began with other data."""
    if run_folder.read_json(run_dir / INFO).get("data") != fingerprint(splits):
        raise UserError(
            f"{run_dir} began with other data: the files, or the version that made the data, have "
            "changed since; start a new run"
        )


def read_config(run_dir: Path) -> dict[str, Any]:
    """config.json of a supervised run; UserError where the folder holds none."""
    types = {"kind": str, "task": str, "seed": int, "config": dict, "options": dict}
    content = run_folder.read_config(run_dir, types)
    if content["kind"] != KIND:
        raise UserError(f"{run_dir} is a run of kind {content['kind']!r}, not {KIND!r}")
    return content


def is_supervised(run_dir: Path) -> bool:
    """Whether the folder's config.json says that it is a supervised run."""
    content = run_folder.read_json(run_dir / run_folder.CONFIG)
    return isinstance(content, dict) and content.get("kind") == KIND


def config_of(run_dir: Path) -> Any:
    """The task's config, as an instance of its own class."""
    content = read_config(run_dir)
    cls = type(table.find(content["task"]).defaults)
    return records.load(cls, content["config"], str(run_dir / run_folder.CONFIG))


def load(run_dir: str | Path, which: str = "best") -> Trained:
    """The net of a run folder.

    Args:
      run_dir: of `scripts/train_supervised.py`.
      which: `best` (lowest validation loss; without validation data the last) or `last`.

    Raises UserError where the folder, the weights or their shapes are not as they should be.
    """
    run_dir = Path(run_dir)
    content = read_config(run_dir)
    config = config_of(run_dir)
    saved = run_folder.read_json(run_dir / INFO)
    net, loss = table.find(content["task"]).make(config, saved["info"])
    x = _specs(saved["x"])
    path = run_dir / "weights" / f"{which}.safetensors"
    if which not in ("best", "last") or not path.exists():
        have = sorted(p.stem for p in path.parent.glob("*.safetensors"))
        raise UserError(f"{run_dir} has no weights {which!r}; it has: {', '.join(have) or 'none'}")
    params, net_state, _ = weights.load_net(path, shapes(net, x))
    params, net_state = jax.tree.map(jnp.asarray, (params, net_state))
    return Trained(
        content["task"], config, saved["info"], content["seed"], net, loss, params, net_state, x
    )


def shapes(net: Any, x: PyTree) -> tuple[Params, PyTree]:
    """What the net's parameters and state look like, for inputs like `x` without a batch's axis."""
    batch = jax.tree.map(lambda s: jax.ShapeDtypeStruct((2, *s.shape), s.dtype), x)
    like: tuple[Params, PyTree] = jax.eval_shape(
        lambda key, x: net.init(key, x, True), jax.random.PRNGKey(0), batch
    )
    return like


def _specs(tree: Any) -> PyTree:
    if set(tree) == {"shape", "dtype"} and isinstance(tree["dtype"], str):
        return jax.ShapeDtypeStruct(tuple(tree["shape"]), np.dtype(tree["dtype"]))
    return {name: _specs(each) for name, each in tree.items()}
