"""TensorBoard also gets what no row can hold: every layer's weights, and the agent at play."""

import io

import numpy as np
from PIL import Image

from dqnlab.metrics import MetricsWriter
from scripts import train_dqn, video
from tests.dqnlab.tensorboard import events

CATCH = (
    "--game catch --num-envs 4 --log-every 400 --checkpoint-every 400 --learning-starts 200 "
    "--replay-capacity 1000 --hidden 16 --eval-episodes 0 --device cpu --quiet --frames 800"
).split()


def test_weights_of_every_layer_are_a_histogram_at_each_checkpoint(tmp_path):
    assert train_dqn.main([*CATCH, "--run-dir", str(tmp_path / "run")]) == 0
    seen = [
        (event.step, value.tag, value.histo.num)
        for event in events(tmp_path / "run")
        for value in event.summary.value
        if value.HasField("histo")
    ]
    tags = {tag for _, tag, _ in seen}
    assert all(tag.startswith("weights/") for tag in tags)
    assert {step for step, _, _ in seen} == {400, 800}
    assert any(tag.endswith("/w") for tag in tags)
    assert any(tag.endswith("/b") for tag in tags)
    hidden = [number for _, tag, number in seen if tag.endswith("/w")]
    assert 16 * 3 in hidden  # the last layer: 16 features, 3 actions
    assert len(seen) == 2 * len(tags)


def test_the_video_plays_as_a_moving_picture(tmp_path):
    frames = np.zeros((12, 420, 320, 3), np.uint8)
    frames[6:, :, :, 0] = 250  # black, then red
    path = tmp_path / "game.mp4"
    writer = video.open_writer(path, (420, 320), 15)
    for frame in frames:
        writer.send(frame)
    writer.close()
    with MetricsWriter(tmp_path) as rows:
        rows.write_picture("video", video.as_gif(path), 40)
    (shown,) = [event for event in events(tmp_path) if event.summary.value]
    assert (shown.step, shown.summary.value[0].tag) == (40, "video")
    gif = Image.open(io.BytesIO(shown.summary.value[0].image.encoded_image_string))
    assert (gif.size, gif.is_animated) == ((160, 210), True)
    seconds = 0.0
    colours = []
    for index in range(gif.n_frames):
        gif.seek(index)
        seconds += gif.info["duration"] / 1000
        colours.append(gif.convert("RGB").getpixel((80, 100))[0] > 200)
    assert (colours[0], colours[-1]) == (False, True)
    assert abs(seconds - 12 / 15) < 0.15  # a GIF counts in 1/100 s
