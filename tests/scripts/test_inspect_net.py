"""Pictures of nets whose answers are known, and what the command says of mistakes."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.image import imread

from agents import policy, registry
from agents.presets import preset
from dqnlab.types import UserError
from envs.catch import make_catch
from scripts import inspect_net, predictor
from scripts.pictures import attribution, confusion, flips, load, neighbours, statistics, stimuli
from scripts.pictures.mosaic import mosaic
from scripts.pictures.subject import Subject, find_unit
from scripts.tasks import digits_mlp, saved, table

ROOT = Path(__file__).resolve().parents[2]
FOR_AGENTS = "filters maps stimulus saliency units embedding neighbours adversarial".split()


def agent_run(folder: Path, name: str) -> Path:
    settings = dataclasses.replace(preset(name, "laptop"), hidden=12, num_action_taus=4)
    spec = make_catch(8).spec
    agent = registry.make(name, settings, spec)
    params, net_state = jax.jit(agent.init)(jax.random.PRNGKey(0))
    policy.write_config(folder, name, settings, spec, {})
    (folder / "weights").mkdir()
    policy.save(folder / "weights" / "best.safetensors", params, net_state, 100)
    return folder


@pytest.fixture(scope="module")
def catch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return agent_run(tmp_path_factory.mktemp("catch"), "dqn")


def test_the_pictures_of_an_agent_are_written_and_those_it_cannot_have_are_named(
    catch, tmp_path, capsys
):
    args = [str(catch), "--frames", "60", "--out", str(tmp_path)]
    assert inspect_net.main([*args, "--what", "filters,maps"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "catch, dqn after 100 frames: 60 inputs"
    assert lines[1:] == [f"{n}: {tmp_path / n}.png" for n in ("filters", "maps")]
    for name in ("filters", "maps"):
        image = imread(tmp_path / f"{name}.png")
        assert min(image.shape[:2]) > 300
        assert image[..., :3].std() > 0.01
    with pytest.raises(UserError, match="no picture 'confusion': it is no classifier"):
        inspect_net.main([*args, "--what", "confusion"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dqn", "c51", "iqn", "noisy", "r2d2"])
def test_every_kind_of_agent_has_all_pictures(name, tmp_path, capsys):
    run = agent_run(tmp_path, name)
    assert inspect_net.main([str(run), "--frames", "70"]) == 0  # the last batch has 6
    lines = capsys.readouterr().out
    for picture in FOR_AGENTS:
        assert f"{picture}: {run / 'inspect' / picture}.png" in lines
    assert "confusion: none, it is no classifier" in lines


def test_frames_of_own_play_come_in_order_with_the_memory_before_them(tmp_path):
    trained = policy.load(agent_run(tmp_path, "r2d2"))
    stacks, cores, moments = load.play(trained, 50, seed=3)
    assert stacks.shape == (50, 10, 5, 1)
    assert moments[:8].tolist() == [[game, 0] for game in range(8)]
    assert moments[8:16].tolist() == [[game, 1] for game in range(8)]
    assert not cores.hidden[:8].any()  # a game begins without memory
    assert cores.hidden[8:16].any(axis=1).all()
    # The memory before the second frame is what the net leaves after the first.
    key = jax.random.PRNGKey(0)
    core = jax.tree.map(lambda c: jnp.asarray(c[:8]), cores)
    _, after = trained.agent.q_values(
        trained.params, trained.net_state, key, jnp.asarray(stacks[:8]), core, False
    )
    np.testing.assert_allclose(after.hidden, cores.hidden[8:16], atol=1e-2)  # bfloat16 at most
    again, _, _ = load.play(trained, 50, seed=3)
    np.testing.assert_array_equal(again, stacks)


def linear(images: np.ndarray, weights: np.ndarray, labels: np.ndarray | None = None) -> Subject:
    """A subject whose outputs are weighted sums of the pixels."""

    def forward(params, x, context):
        del context
        return x.reshape(len(x), -1) @ params["w"]

    outputs = tuple("abcdefgh"[: weights.shape[1]])
    params = {"w": jnp.asarray(weights)}
    return Subject("linear", params, forward, images, (), "output", outputs, labels, None, {})


def test_the_optimum_of_a_linear_output_exceeds_every_real_input_and_is_its_weights():
    rng = np.random.default_rng(0)
    images = rng.uniform(0.3, 0.7, (30, 4, 4, 1)).astype(np.float32)
    weights = rng.normal(size=(16, 2)).astype(np.float32)
    found = stimuli._optima(linear(images, weights), images, "output", [0, 1], 0, 0.0)
    real = images.reshape(30, 16) @ weights
    centre = images.mean(axis=0).ravel()
    radius = np.linalg.norm(images.reshape(30, 16) - centre, axis=1).max()
    for index in (0, 1):
        w = weights[:, index]
        assert found[index].real_value == pytest.approx(real[:, index].max(), rel=1e-5)
        best = centre @ w + radius * np.linalg.norm(w)
        assert real[:, index].max() < found[index].value <= best + 1e-4 * abs(best)
        np.testing.assert_allclose(found[index].value, best, rtol=0.02)
    with pytest.raises(UserError, match="output has units 0 to 1; there is no 2"):
        stimuli._optima(linear(images, weights), images, "output", [2], 0, 0.0)


def test_saliency_is_drawn_where_the_output_looks():
    images = np.full((4, 6, 6, 1), 200, np.uint8)
    images[:, 2, 4] = 0  # a flat image stays what it is when it is blurred
    weights = np.zeros((36, 2), np.float32)
    weights[2 * 6 + 4, 0] = 5.0
    figure = attribution.draw(linear(images, weights))
    heats = [axes.images[1].get_array() for axes in figure.axes if len(axes.images) == 2]
    assert len(heats) == 4 * len(attribution.MAPS)
    assert all(np.unravel_index(heat.argmax(), heat.shape) == (2, 4) for heat in heats)
    shown = figure.axes[1].images[0]
    assert shown.get_clim() == (0, 400)  # the heat lies over a picture half as bright


def test_the_share_of_answers_that_change_is_that_of_the_margins():
    # Two outputs whose difference is w x: along the gradient's sign it falls by epsilon |w|_1.
    rng = np.random.default_rng(0)
    images = rng.uniform(0.2, 0.8, (200, 4, 4, 1)).astype(np.float32)
    w = rng.normal(size=16).astype(np.float32)
    w -= w.mean()  # so that both answers occur
    margins = np.abs(images.reshape(200, 16) @ w)
    figure = flips.draw(linear(images, np.stack([w, 0 * w], axis=1)), seed=0)
    line, at_random = figure.axes[0].lines
    levels, shares = line.get_data()
    expected = [100 * np.mean(margins < level / 255 * np.abs(w).sum()) for level in levels]
    assert expected[-1] > 20
    np.testing.assert_allclose(shares, expected, atol=0.6)
    assert at_random.get_ydata()[-1] < shares[-1] / 2


def test_units_of_sequences_are_counted_over_batches_of_other_sizes():
    def net(x):  # [B, 3] -> as a sequence of one step, [1, B, 4]
        return hk.Linear(4)(x[None])[0]

    pure = hk.without_apply_rng(hk.transform(net))
    x = np.random.default_rng(0).normal(size=(70, 3)).astype(np.float32)
    params = pure.init(jax.random.PRNGKey(0), x)
    subject = linear(x, np.zeros((3, 4), np.float32))._replace(
        params=params, forward=lambda params, x, context: pure.apply(params, x), names=None
    )
    (stats,) = statistics._stats(subject).values()
    expected = np.asarray(pure.apply(params, x))
    np.testing.assert_allclose(stats.mean, expected.mean(axis=0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(stats.on, (expected > 0).mean(axis=0))


def test_confusions_are_counted():
    images = np.eye(3, dtype=np.float32)[[0, 0, 1, 1, 1, 2]].reshape(-1, 1, 3, 1)
    subject = linear(images, np.eye(3, dtype=np.float32), labels=np.array([0, 1, 1, 1, 2, 2]))
    figure = confusion.draw(subject)
    counts = {text.get_position(): text.get_text() for text in figure.axes[0].texts}
    assert counts == {(0, 0): "1", (0, 1): "1", (1, 1): "2", (1, 2): "1", (2, 2): "1"}
    assert "2 of 6 wrong (33.33%)" in figure.get_suptitle()


def test_neighbours_of_the_same_moment_are_left_out():
    images = np.random.default_rng(0).random((6, 2, 2, 1), np.float32)
    moments = np.array([[0, 0], [0, 100], [0, 300], [1, 0], [1, 100], [2, 100]])
    subject = linear(images, np.zeros((4, 1), np.float32))._replace(moments=moments)
    assert neighbours._is_apart(subject, 0).tolist() == [False, False, True, True, True, True]


def test_a_mosaic_has_every_image_once():
    tiles = np.arange(5 * 2 * 3).reshape(5, 2, 3)
    sheet = mosaic(tiles, columns=3)
    assert sheet.shape == (5, 11)
    np.testing.assert_array_equal(sheet[3:5, 4:7], tiles[4])
    assert np.isnan(sheet).sum() == 5 * 11 - 30


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("digits")
    config = digits_mlp.TASK.defaults
    splits = digits_mlp.TASK.load(config, 0)
    net, _ = digits_mlp.TASK.make(config, splits.info)
    example = splits.train["x"][0]
    params, net_state = net.init(jax.random.PRNGKey(0), splits.train["x"][:2], True)
    saved.write(folder, "digits-mlp", config, 0, splits.info, example, {})
    (folder / "weights").mkdir()
    weights = folder / "weights" / "best.safetensors"
    saved.weights.save_net(weights, params, net_state, {})
    return folder


def test_the_pictures_of_a_supervised_net_are_of_its_test_part(digits, tmp_path, capsys):
    args = [str(digits), "--frames", "50", "--out", str(tmp_path)]
    assert inspect_net.main([*args, "--what", "filters, confusion"]) == 0
    assert "digits-mlp, seed 0: 50 inputs" in capsys.readouterr().out
    subject = load.subject(digits, "best", 50, 0)
    test = digits_mlp.TASK.load(digits_mlp.TASK.defaults, 0).test
    assert all((test["x"] == image).all(axis=(1, 2, 3)).any() for image in subject.x)
    assert subject.names == tuple("0123456789")


@pytest.mark.parametrize("name", ["vae", "digits-autoencoder"])
def test_nets_that_flatten_their_images_have_pictures_and_predict_outside(name, tmp_path, capsys):
    task = table.find(name)
    splits = task.load(task.defaults, 0)
    net, _ = task.make(task.defaults, splits.info)
    params, net_state = net.init(jax.random.PRNGKey(0), splits.train["x"][:2], True)
    saved.write(tmp_path, name, task.defaults, 0, splits.info, splits.train["x"][0], {})
    (tmp_path / "weights").mkdir()
    saved.weights.save_net(tmp_path / "weights" / "best.safetensors", params, net_state, {})
    what = "filters,maps,neighbours"
    assert inspect_net.main([str(tmp_path), "--frames", "20", "--what", what]) == 0
    assert capsys.readouterr().out.count(".png") == 3
    served = predictor.load(tmp_path, "best")
    assert served.shape == (8, 8, 1)
    x = splits.test["x"][:5]
    together, alone = served.predict(x), served.predict(x[3:4])
    for output, values in together.items():  # whatever else is in the batch
        np.testing.assert_allclose(values[3:4], alone[output], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--what", "filter"], "did you mean filters"),
        (["--what", ","], "--what names no picture"),
        (["--frames", "1"], "--frames is 1"),
        (["--checkpoint", "7"], "it has: best"),
        (["--smooth", "-1"], "--smooth is -1.0"),
        (["--frames", "9", "--index", "9"], "there are inputs 0 to 8"),
    ],
)
def test_a_mistake_is_named(catch, args, says, tmp_path):
    with pytest.raises(UserError, match=says):
        inspect_net.main([str(catch), "--out", str(tmp_path), *args])


def test_a_unit_is_found_by_the_end_of_its_layers_name_or_named(digits):
    subject = load.subject(digits, "best", 4, 0)
    first = subject.layer_names()[0]
    assert find_unit(subject, f"{first}:2") == (first, 2)
    assert find_unit(subject, f"{first.split('/')[-1]}:2") == (first, 2)
    assert find_unit(subject, "output:7") == ("output", 7)
    for text, says in (
        ("conv9:1", f"unknown layer 'conv9': .*{first}"),
        (f"{first}:x", "'x' is no number of a unit"),
        (first, "LAYER:INDEX"),
    ):
        with pytest.raises(UserError, match=says):
            find_unit(subject, text)


def test_the_command_says_it_in_one_line_with_exit_code_2(tmp_path):
    command = [sys.executable, "scripts/inspect_net.py", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert str(tmp_path) in done.stderr
