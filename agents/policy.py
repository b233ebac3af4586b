"""A trained agent in three lines: load, ask for Q-values, act.

policy = load("runs/Pong-prioritized-s0-...", "best")
q = policy.q_values(frames)      # uint8[B, 84, 84, 4] -> float32[B, A]
actions = policy.act(frames)     # int32[B]
act = policy.player(4)           # for games that go on: keeps what the agent must remember
actions = act(timestep)          # of 4 games of `envs.make` -> int32[4]
"""

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from agents import observing, registry
from agents.agent import Agent
from agents.limits import check
from agents.settings import Settings
from dqnlab import records, run_folder, weights
from dqnlab.types import Array, EnvSpec, Params, PyTree, UserError


class Policy(NamedTuple):
    """A saved network with everything needed to use it."""

    agent: Agent
    params: Params
    net_state: PyTree
    settings: Settings
    spec: EnvSpec
    agent_steps: int  # of training behind it

    def q_values(self, observations: Any) -> Array:
        """Return the value of each action, float32[B, A], or float32[A] for one observation.

        Args:
          observations: [B, *obs_shape, K], the last K frames of each game, oldest first, or those
            of one game, [*obs_shape, K]. Where K is 1 it may be left out: then it is what
            `envs.make` and Gymnasium give. A TimeStep of `envs.make` will do, too; with several
            frames only at the start of games, as later `player` must remember the others.

        Raises UserError for other shapes and types, and for agents with a memory.
        """
        if jax.tree.leaves(self.agent.core(1)):
            raise UserError(
                "this agent has a memory (LSTM) beside its frames: use policy.player(num_envs)"
            )
        frames, is_one = observing.frames_of(observations, self.spec)
        key, core = jax.random.PRNGKey(0), self.agent.core(frames.shape[0])
        q, _ = self.agent.q_values(
            self.params, self.net_state, key, jnp.asarray(frames), core, False
        )
        return q[0] if is_one else q

    def act(self, observations: Any) -> Array:
        """Return the greedy actions, int32[B], or int32[] for one observation; see `q_values`."""
        return jnp.argmax(self.q_values(observations), axis=-1).astype(jnp.int32)

    def player(self, num_envs: int = 1, epsilon: float = 0.0, seed: int = 0) -> observing.Player:
        """Return `play(timestep) -> int32[num_envs]` for games of `envs.make` that go on.

        It keeps each game's last frames and, for agents with a memory, their state; both start
        anew with an episode.
        """
        return observing.player(
            self.agent, self.params, self.net_state, self.spec, num_envs, epsilon, seed
        )


def save(
    path: Path, params: Params, net_state: PyTree, agent_steps: int, spec: EnvSpec | None = None
) -> None:
    """Write what `load` needs beside config.json: weights in safetensors, no code.

    Args:
      spec: of the game, which then goes into the file: two games may have as many actions, and
        weights that were copied from one to the other would fit.
    """
    meta = {"agent_steps": str(agent_steps)}
    meta |= {} if spec is None else _game_of(spec)
    weights.save_net(path, params, net_state, meta)


def checkpoints(run_dir: Path) -> dict[str, Path]:
    """The weights files that a run has, by the names that `load` takes."""
    folder = run_dir / "weights"
    steps = sorted(int(p.stem) for p in folder.glob("*.safetensors") if p.stem.isdigit())
    names = {str(step): folder / f"{step:012d}.safetensors" for step in steps}
    if steps:
        names["last"] = names[str(steps[-1])]
    if (folder / "best.safetensors").exists():
        names["best"] = folder / "best.safetensors"
    return names


def weights_path(run_dir: Path, which: str) -> Path:
    """The weights file of `best`, `last` or an agent-step count.

    Raises UserError naming what the run has.
    """
    names = checkpoints(run_dir)
    if which not in names:
        raise UserError(f"{run_dir} has no weights {which!r}; it has: {', '.join(names) or 'none'}")
    return names[which]


def load(run_dir: str | Path, which: str = "best") -> Policy:
    """Load the agent of a run folder.

    Args:
      which: `best` (highest training score at a checkpoint, once 20 games are finished; the last
        before that), `last`, or the agent steps of a kept checkpoint.

    Raises UserError where the folder, the weights or their shapes are not as they should be.
    """
    run_dir = Path(run_dir)
    config = read_config(run_dir)
    where = str(run_dir / run_folder.CONFIG)
    settings = records.load(Settings, config["settings"], where)
    spec = records.load(EnvSpec, config["spec"], where)
    check(settings)
    _check_spec(spec, where)
    agent = registry.make(config["agent"], settings, spec)
    path = weights_path(run_dir, which)
    expected = jax.eval_shape(agent.init, jax.random.PRNGKey(0))
    params, net_state, meta = weights.load_net(path, expected)
    for name, ours in _game_of(spec).items():
        if meta.get(name, ours) != ours:  # files of before there was it have none
            raise UserError(f"{path} is of the {name} {meta[name]}; {where} of {ours}")
    return Policy(agent, params, net_state, settings, spec, int(meta["agent_steps"]))


def write_config(
    run_dir: Path, agent: str, settings: Settings, spec: EnvSpec, options: dict[str, Any]
) -> None:
    """Write config.json: what `load` needs, and the options of the command that trains."""
    content = {
        "agent": agent,
        "settings": dataclasses.asdict(settings),
        "spec": dataclasses.asdict(spec),
        "options": options,
    }
    run_folder.write_config(run_dir, content)


def read_config(run_dir: Path) -> dict[str, Any]:
    """config.json of a run folder; UserError where it is absent or not one of ours."""
    types = {"agent": str, "settings": dict, "spec": dict, "options": dict}
    config = run_folder.read_config(run_dir, types)
    settings = records.load(Settings, config["settings"], str(run_dir / run_folder.CONFIG))
    return {**config, "settings": dataclasses.asdict(settings)}  # younger ones by their defaults


def _game_of(spec: EnvSpec) -> dict[str, str]:
    return {"game": spec.game, "actions": " ".join(spec.action_meanings)}


def _check_spec(spec: EnvSpec, where: str) -> None:
    # A config.json may come from anywhere: what no game looks like must not reach the network.
    sizes = {"num_actions": spec.num_actions, "stack": spec.stack, "frame_skip": spec.frame_skip}
    sizes |= {f"obs_shape[{axis}]": size for axis, size in enumerate(spec.obs_shape)}
    for name, size in sizes.items():
        if not 1 <= size < 2**31:
            raise UserError(f"{where}: {name} is {size}; it must be at least 1")
    if spec.obs_dtype not in ("uint8", "float32"):
        raise UserError(f"{where}: obs_dtype is {spec.obs_dtype!r}; it must be uint8 or float32")
