"""Weights pass through one file without loss, and damage to it is seen."""

import os
import random
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from dqnlab import weights
from dqnlab.checkpoint import CheckpointError, load_weights, save_weights

PARAMS = {
    "params:dqn/~/conv2_d": {
        "w": np.arange(12, dtype=np.float32).reshape(3, 4),
        "b": np.asarray(jnp.ones((), jnp.bfloat16)),
    },
    "dqn/~/conv2_d_1": {"w": np.zeros((0, 2), np.float16), "n": np.array(7, np.int32)},
}


def test_weights_and_meta_come_back(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_weights(path, PARAMS, {"game": "Pong", "é": '"\\'})
    params, meta = load_weights(path)
    assert meta == {"game": "Pong", "é": '"\\'}
    assert {module: set(names) for module, names in params.items()} == {
        module: set(names) for module, names in PARAMS.items()
    }
    for module, names in PARAMS.items():
        for name, array in names.items():
            loaded = params[module][name]
            assert (loaded.dtype, loaded.shape) == (array.dtype, array.shape)
            assert loaded.tobytes() == array.tobytes()
    assert os.listdir(tmp_path) == ["weights.safetensors"]


def test_the_same_weights_and_meta_are_the_same_bytes(tmp_path: Path) -> None:
    meta = {f"key {i}": '"\\' * i + "é" for i in range(8)}
    for name, given in (("one", meta), ("two", dict(reversed(meta.items())))):
        save_weights(tmp_path / name, PARAMS, given)
    one, two = ((tmp_path / name).read_bytes() for name in ("one", "two"))
    assert one == two
    assert load_weights(tmp_path / "one")[1] == meta
    assert int.from_bytes(one[:8], "little") % 8 == 0  # the arrays stay aligned


def test_transposed_weights_come_back_in_order(tmp_path: Path) -> None:
    turned = PARAMS["params:dqn/~/conv2_d"]["w"].T
    save_weights(tmp_path / "w", {"m": {"w": turned}}, {})
    np.testing.assert_array_equal(load_weights(tmp_path / "w")[0]["m"]["w"], turned)


def test_every_flipped_bit_and_cut_is_found(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_weights(path, PARAMS, {"game": "Pong"})
    data = path.read_bytes()
    rng = random.Random(0)
    for _ in range(200):
        flipped = bytearray(data)
        flipped[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(flipped)
        with pytest.raises(CheckpointError, match=str(path)):
            load_weights(path)
    for share in (0, 0.3, 0.9, 0.999):
        path.write_bytes(data[: int(share * len(data))])
        with pytest.raises(CheckpointError, match=str(path)):
            load_weights(path)
    path.write_bytes(data)
    assert load_weights(path)[1] == {"game": "Pong"}


def test_a_header_that_claims_too_much_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w"
    huge = b'{"m|w":{"dtype":"F32","shape":[100000000000],"data_offsets":[0,400000000000]}}'
    for data in [(2**63).to_bytes(8, "little"), len(huge).to_bytes(8, "little") + huge, b""]:
        path.write_bytes(data)
        with pytest.raises(CheckpointError, match="cannot be read"):
            load_weights(path)
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_weights(tmp_path / "absent")


def test_files_without_a_checksum_are_refused(tmp_path: Path) -> None:
    safetensors.numpy.save_file({"m|w": np.zeros(3)}, tmp_path / "w")
    with pytest.raises(CheckpointError, match="not from save_weights"):
        load_weights(tmp_path / "w")


def test_what_is_no_parameter_tree_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w"
    with pytest.raises(CheckpointError, match="no dict of arrays"):
        save_weights(path, {"w": np.zeros(3)}, {})
    with pytest.raises(CheckpointError, match="separates"):
        save_weights(path, {"a|b": {"w": np.zeros(3)}}, {})
    with pytest.raises(CheckpointError, match="meta must map str to str"):
        save_weights(path, PARAMS, {"steps": 3})  # type: ignore[dict-item]
    with pytest.raises(CheckpointError, match="meta must map str to str"):
        save_weights(path, PARAMS, {"sha256": "x"})
    with pytest.raises(CheckpointError, match="cannot be written"):
        save_weights(path, {"m": {"w": np.array(["a"])}}, {})
    with pytest.raises(CheckpointError, match="cannot be written"):
        save_weights(tmp_path / "absent" / "w", PARAMS, {})
    assert os.listdir(tmp_path) == []


def test_writing_replaces_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "w"
    save_weights(path, PARAMS, {"n": "1"})

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match="No space left"):
        save_weights(path, PARAMS, {"n": "2"})
    assert load_weights(path)[1] == {"n": "1"}
    assert os.listdir(tmp_path) == ["w"]


def test_a_net_comes_back_with_its_state_and_another_net_is_named(tmp_path):
    params = {"linear": {"w": np.ones((2, 3), np.float32), "b": np.zeros(3, np.float32)}}
    state = {"norm/~/mean": {"average": np.full(3, 0.5, np.float32), "counter": np.int32(7)}}
    weights.save_net(tmp_path / "net", params, state, {"epoch": "4"})
    params_again, state_again, meta = weights.load_net(tmp_path / "net", (params, state))
    assert meta == {"epoch": "4"}
    np.testing.assert_array_equal(params_again["linear"]["w"], params["linear"]["w"])
    assert state_again["norm/~/mean"]["counter"] == 7
    wider = {"linear": {"w": np.ones((2, 4), np.float32), "b": np.zeros(4, np.float32)}}
    with pytest.raises(CheckpointError, match=r"another net: params:linear\|b is float32\[3\]"):
        weights.load_net(tmp_path / "net", (wider, state))
    with pytest.raises(CheckpointError, match=r"expected nothing \(2 differences\)"):
        weights.load_net(tmp_path / "net", (params, {}))
