import numpy as np
import pytest

import envs
from envs import images


@pytest.mark.parametrize(
    ("shape", "ours", "stack"),
    [
        ((40, 44), (40, 44), 4),
        ((40, 44, 1), (40, 44), 4),
        ((1, 40, 44), (40, 44), 4),
        ((40, 44, 3), (40, 44, 3), 4),
        ((3, 40, 44), (40, 44, 3), 4),
        ((3, 4, 5), (4, 5, 3), 4),
        ((4, 40, 44), (40, 44, 4), 1),  # stacked already
        ((40, 44, 4), (40, 44, 4), 1),
        ((10, 10, 10), (10, 10, 10), 1),  # planes of features
        ((4, 40, 44, 3), (40, 44, 12), 1),
        ((4, 3, 40, 44), (40, 44, 12), 1),
        ((4, 40, 44, 1), (40, 44, 4), 1),
    ],
)
def test_every_layout_becomes_height_width_channels(shape, ours, stack):
    found = images.layout(shape)
    assert (found.shape, found.stack) == (ours, stack)
    # Each pixel says where it is: number of the image, row, column.
    places = [shape.index(side) for side in ours[:2]] if shape != (10, 10, 10) else [0, 1]
    grid = np.indices(shape)
    pixels = np.stack([1e4 * n + 100 * grid[places[0]] + grid[places[1]] for n in range(2)])
    arranged = images.arrange(pixels, found)
    expected = 100 * np.arange(ours[0])[:, None] + np.arange(ours[1])
    for n in range(2):
        channels = arranged[n].reshape(*ours[:2], -1)
        assert (channels == 1e4 * n + expected[..., None]).all()


def test_stacked_colours_keep_the_newest_frame_last():
    found = images.layout((2, 5, 6, 3))
    pixels = np.arange(2 * 5 * 6 * 3).reshape(1, 2, 5, 6, 3)
    np.testing.assert_array_equal(images.arrange(pixels, found)[0, ..., 3:], pixels[0, 1])


@pytest.mark.parametrize("shape", [(), (3,), (1, 2, 3, 4, 5)])
def test_what_is_no_image_has_no_layout(shape):
    assert images.layout(shape) is None


@pytest.mark.parametrize("first", ["ColourFirst", "StackedFirst", "ChannelGrey"])
def test_games_that_put_channels_first_show_the_same_as_those_that_put_them_last(first):
    last = {"ColourFirst": "Colour", "StackedFirst": "Stacked", "ChannelGrey": "Grey"}[first]
    played = []
    for name in (first, last):
        env = envs.make(f"tests.own_games:{name}-v0", 2)
        state, start = env.reset(3)
        _, then = env.step(state, [0, 1])
        played.append((start.obs, then.obs))
    np.testing.assert_array_equal(*played)
