"""Agents on environments of one's own: filmed, watched, looked into, exported."""

import dataclasses
import json
import subprocess
from pathlib import Path

import imageio_ffmpeg
import jax
import numpy as np
import pytest

import envs
from agents import policy, registry, saliency
from agents.presets import preset
from dqnlab.types import UserError
from scripts import (
    evaluate,
    export_file,
    inspect_net,
    looking,
    options,
    predictor,
    report_content,
    video,
    watch_game,
)
from tests.own_games import STEPS

SMALL = {"hidden": 8, "torso_width": 1 / 16, "precision": "float32", "replay_capacity": 500}


def save_run(run_dir: Path, game: str) -> Path:
    """A run folder of an untrained agent."""
    env = envs.make(game, 1)
    env.close()
    settings = dataclasses.replace(preset("dqn", "laptop"), **SMALL)
    agent = registry.make("dqn", settings, env.spec)
    params, net_state = agent.init(jax.random.PRNGKey(0))
    policy.write_config(run_dir, "dqn", settings, env.spec, {})
    (run_dir / "weights").mkdir()
    policy.save(run_dir / "weights" / "best.safetensors", params, net_state, 100)
    return run_dir


@pytest.fixture(scope="module")
def colour(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_run(tmp_path_factory.mktemp("colour"), "tests.own_games:Colour-v0")


def frames_of(path: Path, shape: tuple[int, int]) -> np.ndarray:
    decode = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(path)]
    decode += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    raw = subprocess.run(decode, capture_output=True, check=True, timeout=120).stdout
    return np.frombuffer(raw, np.uint8).reshape(-1, *shape, 3)


def test_a_game_that_renders_is_filmed_one_picture_a_step(tmp_path, capsys):
    run_dir = save_run(tmp_path, "tests.own_games:Walk-v0")
    path, figures = tmp_path / "walk.mp4", tmp_path / "figures.json"
    args = [str(run_dir), "--episodes", "1", "--num-envs", "1", "--video", str(path)]
    assert evaluate.main([*args, "--json", str(figures)]) == 0
    said = capsys.readouterr()
    assert "\ntests.own_games:Walk-v0, epsilon 0.001, 1 game," in said.out
    assert said.err == ""  # no word of a protocol, which it has not
    assert json.loads(figures.read_text())["protocol"]["name"] == "gymnasium"
    frames = frames_of(path, (410, 630))  # 41 x 63 ten times as large
    assert len(frames) == STEPS + 1
    for step, frame in enumerate(frames):
        row = frame[205, :, 0].astype(int)
        assert abs(int(np.flatnonzero(row > 125)[0]) - 40 * step) <= 4


def test_a_protocol_is_refused_for_a_game_that_has_none(colour):
    with pytest.raises(UserError, match=r"'nature2015'; .*Colour-v0 has rules of its own"):
        evaluate.main([str(colour), "--protocol", "nature2015"])


def test_a_game_without_pictures_is_refused_before_it_is_played(tmp_path, monkeypatch):
    run_dir = save_run(tmp_path, "tests.own_games:Blind-v0")
    monkeypatch.setattr(evaluate, "score", lambda *args, **kwargs: pytest.fail("played"))
    with pytest.raises(UserError, match="Blind-v0 has no pictures"):
        evaluate.main([str(run_dir), "--video", str(tmp_path / "film.mp4")])


def test_colours_are_filmed_watched_and_their_saliency_is_of_all_channels(colour, tmp_path):
    trained = policy.load(colour)
    video.record(trained, None, tmp_path / "film.mp4", epsilon=0.0, seed=0)
    frames = frames_of(tmp_path / "film.mp4", (400, 440))
    assert len(frames) == STEPS + 1
    assert np.ptp(frames.astype(int), axis=-1).max() > 100  # in colour
    game = watch_game.Game(trained, None, seed=0)
    game.look(0.0, with_heat=False)
    game.step()
    moment = game.look(0.0, with_heat=True)
    assert moment.screen.shape == (40, 44, 3)
    assert moment.frame.shape == moment.heat.shape == (40, 44)
    assert moment.heat.max() == 255
    game.close()


@pytest.mark.parametrize("method", saliency.METHODS)
def test_saliency_of_a_colour_stack_has_the_images_shape(colour, method):
    trained = policy.load(colour)
    frames = np.random.default_rng(0).integers(0, 256, (2, 40, 44, 3, 4), np.uint8)
    heat_of = saliency.make(trained.agent, method)
    heat = heat_of(trained.params, trained.net_state, frames, (), np.array([0, 1]))
    assert heat.shape == (2, 40, 44)
    np.testing.assert_allclose(heat.max(axis=(1, 2)), 1.0)


def test_a_colour_agent_is_looked_into_and_drawn(colour, tmp_path, capsys):
    args = [str(colour), "--frames", "8", "--out", str(tmp_path)]
    assert inspect_net.main([*args, "--what", "filters,maps"]) == 0
    assert capsys.readouterr().out.count(".png") == 2
    trained = policy.load(colour)
    game = looking.play(trained, None, epsilon=0.0, seed=0)
    assert looking.has_images(trained)
    assert looking.draw_moment(game, trained, 3).axes[0].images[0].get_array().shape == (40, 44, 3)


@pytest.mark.slow
def test_a_colour_agent_has_all_pictures(colour, tmp_path, capsys):
    assert inspect_net.main([str(colour), "--frames", "16", "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out.count(".png") == 8


def test_a_colour_agent_predicts_outside_as_inside(colour):
    trained = policy.load(colour)
    net = predictor.of_agent(trained, "dqn")
    assert (net.shape, net.dtype) == ((40, 44, 3, 4), "uint8")
    x = np.random.default_rng(0).integers(0, 256, (3, *net.shape), np.uint8)
    exported = export_file.to_stablehlo(net, ("cpu",))
    np.testing.assert_allclose(exported.call(x)["q_values"], trained.q_values(x), rtol=1e-5)


def test_a_run_of_a_game_without_a_protocol_names_none_and_older_ones_are_read_as_such(tmp_path):
    env = envs.make("catch", 2)
    given = options.parse(["--agent", "dqn", "--game", "catch"], None)
    assert given.protocol is None
    kept = dataclasses.asdict(given)
    for name in ("settings", "run_dir", "resume"):
        del kept[name]
    policy.write_config(
        tmp_path, "dqn", given.settings, env.spec, {**kept, "protocol": "machado2018"}
    )
    assert options.read_options(tmp_path).protocol is None
    assert "protocol" not in report_content.reproduce(policy.read_config(tmp_path))
