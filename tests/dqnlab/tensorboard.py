"""TensorBoard's event files, read back without TensorBoard."""

import struct
from pathlib import Path
from typing import Any

from tensorboardX.proto import event_pb2


def events(folder: Path) -> list[Any]:
    """All events of a run folder, those of the first start first."""
    found = []
    for path in sorted(folder.glob("events.out.tfevents.*"), key=lambda path: path.suffixes[-1]):
        data = path.read_bytes()
        while data:  # length, its checksum, the event, its checksum
            (length,) = struct.unpack("<Q", data[:8])
            found.append(event_pb2.Event.FromString(data[12 : 12 + length]))
            data = data[16 + length :]
    return found
