"""TensorBoard also gets what no row can hold: the distribution of every layer's weights."""

import struct
from pathlib import Path
from typing import Any

from tensorboardX.proto import event_pb2

from scripts import train_dqn

CATCH = (
    "--game catch --num-envs 4 --log-every 400 --checkpoint-every 400 --learning-starts 200 "
    "--replay-capacity 1000 --hidden 16 --eval-episodes 0 --device cpu --quiet --frames 800"
).split()


def events(folder: Path) -> list[Any]:
    found = []
    for path in folder.glob("events.out.tfevents.*"):
        data = path.read_bytes()
        while data:  # length, its checksum, the event, its checksum
            (length,) = struct.unpack("<Q", data[:8])
            found.append(event_pb2.Event.FromString(data[12 : 12 + length]))
            data = data[16 + length :]
    return found


def test_weights_of_every_layer_are_a_histogram_at_each_checkpoint(tmp_path):
    assert train_dqn.main([*CATCH, "--run-dir", str(tmp_path / "run")]) == 0
    seen = [
        (event.step, value.tag, value.histo.num)
        for event in events(tmp_path / "run")
        for value in event.summary.value
        if value.HasField("histo")
    ]
    tags = {tag for _, tag, _ in seen}
    assert {step for step, _, _ in seen} == {400, 800}
    assert any(tag.endswith("/w") for tag in tags)
    assert any(tag.endswith("/b") for tag in tags)
    hidden = [number for _, tag, number in seen if tag.endswith("/w")]
    assert 16 * 3 in hidden  # the last layer: 16 features, 3 actions
    assert len(seen) == 2 * len(tags)
