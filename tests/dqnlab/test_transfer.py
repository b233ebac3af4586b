import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dqnlab import transfer, weights
from dqnlab.nets import NatureTorso
from dqnlab.nets.autoencoder import FrameAutoencoder
from dqnlab.types import UserError


def shaped(forward, channels=4):
    """Parameters of a net, zeros but for what `init` would need to compute."""
    frames = jnp.zeros((1, 84, 84, channels), jnp.uint8)
    shapes = jax.eval_shape(hk.transform(forward).init, jax.random.PRNGKey(0), frames)
    return jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)


def q_network(frames):
    return hk.Linear(6, name="q")(NatureTorso()(frames))


def numbered(torso):
    return {m: {k: a + i for i, (k, a) in enumerate(sorted(d.items()))} for m, d in torso.items()}


def test_the_same_torso_is_found_wherever_it_stands():
    ours = transfer.torso_of(shaped(q_network))
    theirs = transfer.torso_of(shaped(lambda x: FrameAutoencoder(16)(x)))
    assert jax.tree.map(jnp.shape, ours) == jax.tree.map(jnp.shape, theirs)
    assert len(ours) == 3


def test_weights_go_from_a_q_network_into_an_autoencoder_and_only_the_torsos():
    target = shaped(lambda x: FrameAutoencoder(16)(x))
    torso = numbered(transfer.torso_of(shaped(q_network)))
    carried = transfer.with_torso(target, torso, "runs/a")
    for module, arrays in transfer.torso_of(carried).items():
        for name, array in arrays.items():
            np.testing.assert_array_equal(array, torso[module][name])
    assert not carried["frame_autoencoder/code"]["w"].any()
    assert carried.keys() == target.keys()


def test_a_torso_read_from_a_run_folder_is_the_one_written(tmp_path):
    torso = numbered(transfer.torso_of(shaped(q_network)))
    (tmp_path / "weights").mkdir()
    weights.save_net(tmp_path / "weights" / "best.safetensors", torso, {}, {})
    read = transfer.load_torso(tmp_path)
    jax.tree.map(np.testing.assert_array_equal, read, torso)


def test_frames_with_other_channels_are_a_clear_error():
    torso = transfer.torso_of(shaped(q_network, channels=1))
    message = (
        r"torso of runs/a does not fit: nature_torso/conv2_d\|w is float32\[8, 8, 1, 32\], .*4"
    )
    with pytest.raises(UserError, match=message):
        transfer.with_torso(shaped(q_network), torso, "runs/a")


def test_a_torso_of_centred_frames_fits_its_own_kind_only():
    centred = shaped(lambda x: hk.Linear(6, name="q")(NatureTorso(centred=True)(x)))
    torso = numbered(transfer.torso_of(centred))
    assert transfer.is_centred(torso)
    assert not transfer.is_centred(shaped(q_network))
    np.testing.assert_array_equal(
        transfer.with_torso(centred, torso, "runs/a")["centred_nature_torso/conv2_d"]["b"],
        torso["centred_nature_torso/conv2_d"]["b"],
    )
    with pytest.raises(UserError, match="centre-frames must be the same"):
        transfer.with_torso(shaped(q_network), torso, "runs/a")


def test_a_narrow_torso_says_its_width_and_fits_its_own_kind_only():
    narrow = shaped(lambda x: hk.Linear(6, name="q")(NatureTorso(width=0.5)(x)))
    torso = numbered(transfer.torso_of(narrow))
    assert transfer.width(torso) == 0.5
    assert transfer.width(transfer.torso_of(shaped(q_network))) == 1
    assert transfer.with_torso(narrow, torso, "runs/a").keys() == narrow.keys()
    with pytest.raises(UserError, match="its width and --centre-frames must be the same"):
        transfer.with_torso(shaped(q_network), torso, "runs/a")


def test_nets_without_a_torso_and_folders_without_weights_are_clear_errors(tmp_path):
    linear = shaped(lambda x: hk.Linear(2)(x.reshape(1, -1).astype(jnp.float32)))
    with pytest.raises(UserError, match="the net to start has no torso"):
        transfer.with_torso(linear, transfer.torso_of(shaped(q_network)), "runs/a")
    with pytest.raises(UserError, match="runs/a has no torso"):
        transfer.with_torso(shaped(q_network), transfer.torso_of(linear), "runs/a")
    with pytest.raises(UserError, match="no weights to start from"):
        transfer.load_torso(tmp_path)
