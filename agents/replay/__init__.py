"""Replay memories that live on the device: records of pure functions over a ring of frames."""

from agents.replay.replay import Replay, ReplayState, Sample

__all__ = ["Replay", "ReplayState", "Sample"]
