"""Servers and nets for the tests of what is served."""

import contextlib
import dataclasses
import threading
import time
from collections.abc import Iterator
from typing import Any

import jax

from agents import policy, presets, registry
from dqnlab.types import EnvSpec
from scripts import http_server


@contextlib.contextmanager
def running(app: Any, port: int = 0) -> Iterator[str]:
    """The app behind a real socket, in a thread; its URL."""
    listening = http_server.listen("127.0.0.1", port)
    url, server = http_server.url(listening), http_server.make(app)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    try:
        yield url
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


def small_policy(name: str = "dqn", **changes: Any) -> policy.Policy:
    """A net for byte images of 3 x 2, two of them stacked, and three actions."""
    spec = EnvSpec(
        game="small",
        num_envs=1,
        num_actions=3,
        action_meanings=("NOOP", "LEFT", "RIGHT"),
        obs_shape=(3, 2),
        obs_dtype="uint8",
        stack=2,
        frame_skip=1,
        protocol={},
        traceable=False,
    )
    settings = dataclasses.replace(
        presets.preset(name, "laptop"), hidden=16, precision="float32", **changes
    )
    agent = registry.make(name, settings, spec)
    return policy.Policy(agent, *jax.jit(agent.init)(jax.random.PRNGKey(1)), settings, spec, 0)
