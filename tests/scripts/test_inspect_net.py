"""Pictures of nets whose answers are known, and what the command says of mistakes."""

import dataclasses
import itertools
import subprocess
import sys
from pathlib import Path

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imread

from agents import policy, registry
from agents.presets import preset
from dqnlab.types import UserError
from envs.catch import make_catch
from scripts import inspect_net, predictor
from scripts.pictures import (
    attention,
    attribution,
    confusion,
    embedding,
    filters,
    flips,
    load,
    maps,
    neighbours,
    statistics,
    stimuli,
)
from scripts.pictures.mosaic import mosaic
from scripts.pictures.overlay import overlay
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


def rendered(figure: Figure) -> np.ndarray:
    """uint8[H, W, 4]: the figure's pixels."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


def test_filters_of_two_frames_are_farther_apart_than_two_filters_of_one():
    pure = hk.without_apply_rng(hk.transform(lambda x: hk.Conv2D(16, 8)(x)))
    x = np.zeros((2, 8, 8, 4), np.float32)
    subject = linear(x, np.zeros((1, 1), np.float32))._replace(
        params=pure.init(jax.random.PRNGKey(0), x),
        forward=lambda params, x, context: pure.apply(params, x),
        moments=np.zeros((2, 2), int),
    )
    figure = filters.draw(subject)
    rendered(figure)
    boxes = [axes.get_window_extent() for axes in figure.axes[:4]]
    between_filters = boxes[0].width / (4 * 8 + 3)
    for left, right in itertools.pairwise(boxes):
        assert right.x0 - left.x1 > 2 * between_filters


@pytest.mark.parametrize("kind", ["maps", "sequence", "units"])
def test_one_outlier_leaves_the_rest_of_a_layer_its_colours(kind):
    answer = np.random.default_rng(0).uniform(-1, 1, (9, 9, 16)).astype(np.float32)
    answer[0, 0, 0] = 1000  # one place of one map
    answer[..., 1] *= 1000  # one map
    if kind == "sequence":
        answer = answer[0]
    elif kind == "units":
        answer = answer[4, 4]
    figure = Figure()
    maps._draw_layer(figure, figure.subplots(), "a/layer", answer)
    (image,) = figure.axes[0].images
    low, high = image.get_clim()
    shares = np.abs(np.asarray(image.get_array()) / high)
    assert low == -high
    assert np.nanmedian(shares) > 0.2
    assert np.nanmean(shares > 1) < 0.15


def test_a_map_of_next_to_nothing_stays_pale():
    rows = np.random.default_rng(0).uniform(-1, 1, (5, 50))
    rows[0] *= 1e-6
    assert np.abs(rows / maps._scales(rows)[:, None])[0].max() < 1e-4
    assert maps._scales(np.zeros((2, 4))).min() > 0  # all 0 is not divided by 0


@pytest.mark.parametrize("channels", [1, 4])
def test_stimuli_of_dark_inputs_span_the_scale_that_they_are_drawn_on(channels, monkeypatch):
    rng = np.random.default_rng(0)
    images = np.full((20, 6, 6, channels), 0.01, np.float32)
    images[:, 0] = 0.9  # a wall that all inputs share
    images[:, 3, 3] += rng.uniform(0, 0.05, (20, channels)).astype(np.float32)
    image = images.mean(axis=0)
    image[1:] += rng.uniform(0, 0.03, (5, 6, channels)).astype(np.float32)
    found = {0: stimuli.Optimum(image, 2.0, images[0], 1.0)}
    monkeypatch.setattr(stimuli, "_optima", lambda *args: found)
    subject = linear(images, np.zeros((36 * channels, 2), np.float32))
    figure = stimuli.draw(subject, [("output", 0)], seed=0, smooth=0.0)
    drawn = [axes.images[0] for axes in figure.axes]
    assert len(drawn) == 2 * max(2, channels)
    for each in drawn:
        low, high = each.get_clim()
        is_picture = each.get_cmap().name == "gray"
        assert high - low < (1 if is_picture else 0.2)
    # What the optimum adds reaches the ends of the scale.
    added = [each for each in drawn[: len(drawn) // 2] if each.get_cmap().name == "coolwarm"]
    assert max(np.abs(each.get_array()).max() / each.get_clim()[1] for each in added) >= 1


def test_the_difference_of_a_small_change_is_drawn_from_black_to_white():
    rng = np.random.default_rng(0)
    images = rng.uniform(0.4, 0.6, (40, 4, 4, 1)).astype(np.float32)
    w = rng.normal(size=16).astype(np.float32)
    figure = flips.draw(linear(images, np.stack([w - w.mean(), 0 * w], axis=1)), seed=0)
    image = np.asarray(figure.axes[3].images[0].get_array())
    np.testing.assert_allclose([image.min(), image.max()], [0, 1], atol=1e-4)


def test_thumbnails_lie_beside_all_points_and_each_other():
    points = np.random.default_rng(0).normal(size=(200, 2))
    images = np.random.default_rng(1).random((200, 10, 5, 1), np.float32)
    figure = Figure(figsize=(8, 6))
    axes = figure.subplots()
    axes.scatter(*points.T)
    embedding._thumbnails(axes, linear(images, np.zeros((50, 1), np.float32)), points)
    rendered(figure)
    boxes = [each.patch.get_window_extent() for each in axes.artists]
    assert len(boxes) == embedding.THUMBNAILS
    places = axes.transData.transform(points)
    assert not any(box.contains(*place) for box in boxes for place in places)
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    inside = axes.get_window_extent()
    assert all(inside.x0 <= box.x0 and box.x1 <= inside.x1 for box in boxes)


def test_a_little_heat_is_seen_on_black_and_none_leaves_the_picture():
    heat = np.zeros((2, 2), np.float32)
    heat[0, 0] = 0.3
    for image in (np.zeros((2, 2), np.uint8), np.zeros((2, 2, 3), np.uint8)):
        figure = Figure(figsize=(2, 2), dpi=50)
        overlay(figure.add_axes((0, 0, 1, 1)), image, heat)
        pixels = rendered(figure)
        assert pixels[25, 25].max() >= 70
        assert pixels[75, 75, :3].max() == 0
    figure = Figure(figsize=(2, 2), dpi=50)
    overlay(figure.add_axes((0, 0, 1, 1)), np.full((2, 2), 90, np.uint8), heat)
    assert rendered(figure)[75, 75, 0] == pytest.approx(255 / 2, abs=1)


def test_attention_is_drawn_on_white():
    x = {"source": np.full((3, 5), 1, np.int32), "target": np.full((3, 4), 1, np.int32)}

    def forward(params, x, context):
        del params, context
        size = len(x["source"])
        return jnp.ones((size, 4, 2)), jnp.tile(jnp.eye(4, 5)[None], (size, 1, 1))

    subject = Subject(
        "dates", {}, forward, x, (), "", None, None, None, {"source": "ab", "target": "ab"}
    )
    for axes in attention.draw(subject).axes[:3]:
        (image,) = axes.images
        assert min(image.cmap(image.norm(0.0))[:3]) > 0.9  # no weight
        assert max(image.cmap(image.norm(1.0))[:2]) < 0.3


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


@pytest.mark.parametrize(
    "name", [pytest.param("vae", marks=pytest.mark.slow), "digits-autoencoder"]
)
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
