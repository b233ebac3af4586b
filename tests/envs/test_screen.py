"""Games as a person sees them."""

import numpy as np
import pytest

import envs
from dqnlab.types import UserError
from tests.own_games import STEPS


def test_nothing_is_rendered_unless_it_is_asked_for():
    for game in ("catch", "tests.own_games:Walk-v0"):
        assert envs.make(game, 1).screen is None


def test_a_game_that_renders_is_shown_step_by_step_and_plays_as_without():
    env = envs.make("tests.own_games:Walk-v0", 2, with_screen=True)
    plain = envs.make("tests.own_games:Walk-v0", 2)
    assert env.screen.steps_per_second == 30
    state, _ = env.reset(0)
    plain_state, _ = plain.reset(0)
    for step in range(STEPS + 3):
        time = step if step <= STEPS else step - STEPS - 1
        assert np.flatnonzero(env.screen.draw()[0, :, 0])[0] == 4 * time
        state, shown = env.step(state, [1, 0])
        plain_state, expected = plain.step(plain_state, [1, 0])
        for ours, theirs in zip(shown, expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("game", "shape"),
    [
        ("catch", (10, 5, 3)),
        ("cue", (10, 5, 3)),
        ("tests.own_games:Colour-v0", (40, 44, 3)),
        ("tests.own_games:Stacked-v0", (40, 44, 3)),
    ],
)
def test_a_game_that_cannot_render_is_shown_by_what_the_agent_sees(game, shape):
    env = envs.make(game, 1, with_screen=True)
    state, _ = env.reset(0)
    _, timestep = env.step(state, np.zeros(1, np.int32))
    shown = env.screen.draw()
    assert (shown.shape, shown.dtype) == (shape, np.uint8)
    seen = np.asarray(timestep.obs)[0]
    newest = seen if seen.shape == shape else seen.reshape(*shape[:2], -1)[..., -1:]
    np.testing.assert_array_equal(shown, np.broadcast_to(newest, shape))


def test_an_atari_game_is_shown_in_colour_by_the_same_game():
    env = envs.make("Breakout", 1, with_screen=True)
    state, timestep = env.reset(1)
    for action in (1, 2, 2, 3):
        state, timestep = env.step(state, [action])
    shown = env.screen.draw()
    assert shown.shape == (210, 160, 3)
    assert env.screen.steps_per_second == 15
    grey = (shown @ np.array([0.299, 0.587, 0.114]))[::5, ::4]
    rows, columns = (np.linspace(0, 83, size).round().astype(int) for size in grey.shape)
    small = timestep.obs[0][np.ix_(rows, columns)]
    assert np.corrcoef(small.ravel(), grey.ravel())[0, 1] > 0.8
    env.close()


def test_numbers_without_a_picture_are_refused_saying_what_is_missing():
    with pytest.raises(UserError, match=r"Blind-v0 has no pictures: .*rgb_array among the render"):
        envs.make("tests.own_games:Blind-v0", 1, with_screen=True)


def test_cart_pole_renders_or_names_the_package_that_it_lacks():
    try:
        import pygame  # noqa: F401
    except ImportError:
        with pytest.raises(UserError, match="needs a package that is not installed: pygame"):
            envs.make("CartPole-v1", 1, with_screen=True)
    else:
        env = envs.make("CartPole-v1", 1, with_screen=True)
        env.reset(0)
        picture = env.screen.draw()
        assert picture.shape == (400, 600, 3)
        assert picture.std() > 10
