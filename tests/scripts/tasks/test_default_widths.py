"""Every task at the width and the precision that it has by default."""

import dataclasses

import jax
import numpy as np
import pytest

from dqnlab import batches, idx, objective
from envs import datasets
from scripts.tasks import table

# Less data; the nets stay as they are.
LESS_DATA = {
    "tagger": {"windows": 20, "files": 20},
    "translation": {"dates": 200},
    "adding": {"sequences": 100},
    "embeddings": {"least": 100},
    "sequence-scorer": {"vector_epochs": 1},
}


@pytest.fixture
def less_data(monkeypatch, tmp_path):
    def record(games, stack=1, **sizes):
        count, rng = 16 * len(games), np.random.default_rng(0)
        images, ram = (
            rng.integers(0, 256, (count, *shape), np.uint8) for shape in ((84, 84, stack), (128,))
        )
        numbers = np.arange(count, dtype=np.int32)
        return datasets.Frames(images, ram, numbers // 16, numbers % 8)

    monkeypatch.setattr(datasets, "record", record)
    for part in ("train", "t10k"):
        idx.write(tmp_path / f"{part}-images-idx3-ubyte", np.zeros((20, 28, 28), np.uint8))
        idx.write(tmp_path / f"{part}-labels-idx1-ubyte", np.arange(20, dtype=np.uint8) % 2)
    (tmp_path / "text.txt").write_text("the cat sat on the mat. " * 200)
    files = {"idx-files": {"data": tmp_path}, "char-rnn": {"data": tmp_path / "text.txt"}}
    return LESS_DATA | files


@pytest.mark.parametrize("name", table.TASKS)
def test_a_task_has_finite_gradients_at_its_default_width_and_precision(name, less_data):
    task = table.find(name)
    config = dataclasses.replace(task.defaults, **less_data.get(name, {}))
    splits = task.load(config, seed=0)
    net, loss = task.make(config, splits.info)
    batch = batches.take(splits.train, np.arange(4))

    @jax.jit
    def gradients(key, batch):
        params, net_state = net.init(key, batch["x"], True)
        value_and_grad = jax.value_and_grad(objective.for_training(loss), has_aux=True)
        return value_and_grad(params, net_state, key, batch)

    (value, _), grads = gradients(jax.random.PRNGKey(0), batch)
    for leaf in jax.tree.leaves((value, grads)):
        assert np.isfinite(leaf).all()
    assert any(np.any(leaf) for leaf in jax.tree.leaves(grads))
