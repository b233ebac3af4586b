import dataclasses

import ale_py
import numpy as np
import pytest

import envs
from dqnlab.types import UserError
from envs import datasets, protocols


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("frames")


def record(folder, games=("Pong", "breakout"), **changes):
    sizes = {"episodes": 3, "frames": 8, "every": 5, "stack": 4} | changes
    return datasets.record(games, folder=folder, **sizes)


@pytest.fixture(scope="module")
def frames(folder):
    return record(folder)


def test_observations_have_the_shapes_that_are_promised(frames):
    count = len(frames.obs)
    assert frames.obs.shape == (count, 84, 84, 4)
    assert frames.obs.dtype == frames.ram.dtype == np.uint8
    assert frames.ram.shape == (count, 128)
    assert set(zip(frames.game.tolist(), frames.episode.tolist(), strict=True)) == {
        (game, episode) for game in range(2) for episode in range(3)
    }


def test_the_second_call_reads_what_the_first_recorded(folder, frames):
    played = []
    again = record(folder, on_game=played.append)
    assert played == []
    for ours, theirs in zip(frames, again, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_same_seed_plays_the_same_and_another_seed_something_else(tmp_path, folder, frames):
    anew = record(tmp_path)
    for ours, theirs in zip(frames, anew, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert not np.array_equal(record(folder, seed=1).ram, frames.ram)


def test_a_game_is_recorded_the_same_whatever_is_recorded_with_it(folder, frames):
    alone = record(folder, games=["Breakout"])
    np.testing.assert_array_equal(alone.obs, frames.obs[frames.game == 1])


def test_a_damaged_cache_is_recorded_again(tmp_path):
    first = record(tmp_path, games=["Pong"])
    (path,) = tmp_path.glob("*.npz")
    path.write_bytes(path.read_bytes()[:-300])
    np.testing.assert_array_equal(record(tmp_path, games=["Pong"]).obs, first.obs)


def test_the_cache_lies_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("DQNLAB_DATA", str(tmp_path / "mine"))
    assert datasets.cache_folder() == tmp_path / "mine"
    monkeypatch.delenv("DQNLAB_DATA")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert datasets.cache_folder() == tmp_path / "dqnlab" / "frames"


def test_frames_are_those_that_the_agents_see():
    protocol = dataclasses.replace(
        protocols.find("nature2015"), sticky_actions=0.0, noop_max=0, life_loss_terminal=False
    )
    env = envs.make("Pong", 1, protocol)
    state, timestep = env.reset(0)
    game = datasets._load("pong", 0, sticky_actions=0.0)
    actions = game.getMinimalActionSet()
    for step in range(60):
        action = step // 7 % len(actions)
        state, timestep = env.step(state, np.array([action]))
        screens = []
        for _ in range(4):
            game.act(actions[action])
            screens.append(game.getScreenGrayscale())
        ours = datasets.shrink(np.maximum(*screens[-2:])).astype(int)
        assert np.abs(ours - timestep.obs[0]).max() <= 1
    env.close()
    assert len(np.unique(ours)) > 3  # the match has begun: not a blank picture


def test_a_frame_of_a_constant_colour_keeps_it():
    np.testing.assert_array_equal(
        datasets.shrink(np.full((2, 210, 160), 87, np.uint8)), np.full((2, 84, 84), 87)
    )


def test_no_frame_of_a_held_out_episode_is_in_training(frames):
    parts = datasets.split(frames, num_test=1, num_valid=1)
    for part, episode in zip(parts, range(3), strict=True):
        assert set(part.episode.tolist()) == {episode}
    train, valid, test = ({obs.tobytes() for obs in part.obs} for part in parts)
    assert not train & valid
    assert not (train | valid) & test


def test_frames_that_all_episodes_share_are_scored_in_none(frames):
    obs = frames.obs.copy()
    obs[::4] = 7  # a title screen, in every episode
    train, _, test = datasets.split(frames._replace(obs=obs), num_test=1)
    assert (train.obs == 7).all(axis=(1, 2, 3)).any()
    assert not (test.obs == 7).all(axis=(1, 2, 3)).any()


def centre(screen, colour):
    ys, xs = np.nonzero((screen[34:194] == colour).all(axis=-1))
    return (xs.mean(), ys.mean() + 34, len(ys)) if len(ys) else (None, None, 0)


def test_pong_labels_are_where_the_pixels_are():
    game, rng = datasets._load("pong", 5), np.random.default_rng(5)
    actions, compared = game.getMinimalActionSet(), np.zeros(4, int)
    for _ in range(120):
        action = rng.choice(actions)
        for _ in range(12):
            game.act(ale_py.Action(action))
        screen = game.getScreenRGB()
        (position,), (visible,) = datasets.pong_state(game.getRAM()[None])
        ball, player, enemy = (
            centre(screen, c) for c in ((236, 236, 236), (92, 186, 92), (213, 130, 74))
        )
        assert bool(visible[0]) == (ball[2] > 0)
        assert bool(visible[3]) == (enemy[2] > 0)
        pairs = [(0, ball[0], ball[2] == 8), (1, ball[1], ball[2] == 8)]
        pairs += [(2, player[1], player[2] == 64), (3, enemy[1], enemy[2] == 64)]
        for target, seen, is_whole in pairs:
            if is_whole:
                assert abs(position[target] - seen) <= 0.5
                compared[target] += 1
    assert compared.min() >= 20


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"games": ["Pongg"]}, "unknown Atari game 'Pongg'.*Pong"),
        ({"games": []}, "games is empty; it must name at least one"),
        ({"episodes": 0}, "episodes is 0"),
        ({"frames": -1}, "frames is -1"),
        ({"every": 3}, "every is 3; below the stack of 4"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_what_cannot_be_recorded_is_said(folder, changes, message):
    with pytest.raises(UserError, match=message):
        record(folder, **changes)


def test_a_split_that_leaves_nothing_to_train_on_is_an_error(frames):
    with pytest.raises(UserError, match="leave none of 3"):
        datasets.split(frames, num_test=2, num_valid=1)


def test_a_game_that_would_miss_in_the_test_part_is_an_error(frames):
    obs = frames.obs.copy()
    obs[frames.game == 0] = 7
    with pytest.raises(UserError, match=r"the test part holds no new frame of games \[0\]"):
        datasets.split(frames._replace(obs=obs), num_test=1)
    _, _, test = datasets.split(frames._replace(obs=obs), num_test=1, need_all_games=False)
    assert set(test.game.tolist()) == {1}


def test_a_folder_that_cannot_be_used_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="DQNLAB_DATA"):
        record(tmp_path / "file")
