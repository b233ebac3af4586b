"""Run folders that pages take for granted, with the real writers and without training agents."""

import dataclasses
from pathlib import Path

import jax

import envs
from agents import policy, presets, registry
from dqnlab.metrics import MetricsWriter
from scripts import train_supervised
from scripts.options import Options

_AGENTS = {
    "pong": ("Pong", "prioritized", "machado2018"),
    "pong-nature2015": ("Pong", "prioritized", "nature2015"),
    "pong-dqn": ("Pong", "dqn", "machado2018"),
    "breakout": ("Breakout", "dqn", "machado2018"),
}


def make(name: str, folder: Path) -> Path:
    """The run of that name (the values of READY in small.py) in a new folder."""
    if name == "text":
        return _language_model(folder)
    return _untrained(folder, *_AGENTS[name])


def _untrained(folder: Path, game: str, agent_name: str, protocol: str) -> Path:
    """A run of an agent that plays at random; its scores rise from row to row all the same."""
    settings = dataclasses.replace(
        presets.preset(agent_name, "laptop"),
        hidden=16,
        torso_width=1 / 16,
        precision="float32",
        evaluation_epsilon=1.0,
    )
    env = envs.make(game, settings.num_envs, protocol)
    env.close()
    agent = registry.make(agent_name, settings, env.spec)
    params, net_state = jax.jit(agent.init)(jax.random.PRNGKey(0))
    (folder / "weights").mkdir(parents=True)
    options = dataclasses.asdict(
        Options(game=game, agent=agent_name, protocol=protocol, frames=1_200_000)
    )
    kept = {k: v for k, v in options.items() if k not in ("settings", "run_dir", "resume")}
    policy.write_config(folder, agent_name, settings, env.spec, kept)
    for each in ("best", "000000300000"):
        path = folder / "weights" / f"{each}.safetensors"
        policy.save(path, params, net_state, 300_000, env.spec)
    with MetricsWriter(folder) as writer:
        for row in range(1, 7):
            writer.write(
                {
                    "agent_steps": 50_000 * row,
                    "frames": 200_000 * row,
                    "seconds": 80.0 * row,
                    "updates": 12_000 * row,
                    "frames_per_second": 2_500.0,
                    "episode_return_mean": 3.0 * row - 20,
                    "episode_return_last20": 3.0 * row - 20,
                    "episodes": 40 * row,
                    "loss": 0.1 / row,
                    "q_mean": 0.1 * row,
                    "grad_norm": 1.0,
                    "epsilon": 0.01,
                }
            )
    return folder


def _language_model(folder: Path) -> Path:
    folder.mkdir(parents=True)
    text = folder.with_name("text.txt")
    text.write_text("The cat sat on the mat. " * 50)
    options = "--epochs 2 --hidden 16 --embedding 8 --chunk 24 --batch-size 8 --quiet"
    paths = ["--data", str(text), "--run-dir", str(folder / "run")]
    assert train_supervised.main(["char-rnn", *paths, *options.split()]) == 0
    return folder / "run"
