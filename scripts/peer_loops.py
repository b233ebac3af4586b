"""The training loops of other DQN implementations, each with a call after a step of its games."""

from __future__ import annotations

import math
import os
import re
import runpy
import sys
from pathlib import Path
from typing import Any, Callable  # noqa: UP035 (older Pythons)

from scripts import peer_dqn_zoo

Count = Callable[[float], None]  # told how many agent steps were taken
LEARNING_STARTS = 100  # agent steps before the first update: within the turn that is not counted


def run_sb3(request: dict[str, Any], count: Count) -> None:
    """Stable-Baselines3, which can play several games at once."""
    import ale_py  # noqa: F401 (registers the games)
    from stable_baselines3 import DQN
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.env_util import make_atari_env

    num_envs, period = request["num_envs"], request["update_period"]
    shared = math.gcd(num_envs, period)

    class Steps(BaseCallback):
        def _on_step(self) -> bool:
            count(num_envs)
            return True

    model = DQN(
        "CnnPolicy",
        make_atari_env(f"{request['game']}NoFrameskip-v4", n_envs=num_envs),
        buffer_size=request["replay_capacity"],
        learning_starts=LEARNING_STARTS,
        batch_size=request["batch_size"],
        # Counted in steps of all games together; `shared` makes the ratio exact for any number.
        train_freq=period // shared,
        gradient_steps=num_envs // shared,
        exploration_initial_eps=request["epsilon"],
        exploration_final_eps=request["epsilon"],
    )
    model.learn(10**9, callback=Steps())


def run_cleanrl(request: dict[str, Any], count: Count) -> None:
    """CleanRL's dqn_atari.py, or another script with its options."""
    import ale_py  # noqa: F401 (registers the games)
    from gymnasium.vector import SyncVectorEnv

    script = Path(request["path"])
    if script.is_dir():
        script = script / "cleanrl" / "dqn_atari.py"
    step_games = SyncVectorEnv.step

    def step(games: Any, actions: Any) -> Any:
        result = step_games(games, actions)
        count(games.num_envs)
        return result

    SyncVectorEnv.step = step
    epsilon = str(request["epsilon"])
    arguments = {
        "--env-id": f"{request['game']}NoFrameskip-v4",
        "--total-timesteps": str(10**9),
        "--buffer-size": str(request["replay_capacity"]),
        "--learning-starts": str(LEARNING_STARTS),
        "--batch-size": str(request["batch_size"]),
        "--train-frequency": str(request["update_period"]),
        "--start-e": epsilon,
        "--end-e": epsilon,
    }
    sys.path.insert(0, str(script.parent.parent))  # for its cleanrl_utils
    sys.argv = [str(script), *(word for pair in arguments.items() for word in pair)]
    runpy.run_path(str(script), run_name="__main__")


def run_dopamine(request: dict[str, Any], count: Count) -> None:
    """Dopamine's JaxDQNAgent."""
    from dopamine.discrete_domains import run_experiment

    step_game = run_experiment.Runner._run_one_step

    def step(runner: Any, action: Any) -> Any:
        result = step_game(runner, action)
        count(1)
        return result

    run_experiment.Runner._run_one_step = step
    bindings = [  # of its dqn.gin, which the package does not bring along; the rest are defaults
        "create_agent.agent_name = 'jax_dqn'",
        "create_runner.schedule = 'continuous_train'",
        f"atari_lib.create_atari_environment.game_name = '{request['game']}'",
        f"JaxDQNAgent.min_replay_history = {LEARNING_STARTS}",
        f"JaxDQNAgent.update_period = {request['update_period']}",
        "JaxDQNAgent.epsilon_fn = @jax.agents.dqn.dqn_agent.identity_epsilon",
        f"JaxDQNAgent.epsilon_train = {request['epsilon']}",
        f"ReplayBuffer.max_capacity = {request['replay_capacity']}",
        f"ReplayBuffer.batch_size = {request['batch_size']}",
    ]
    run_experiment.load_gin_configs([], bindings)
    run_experiment.create_runner(os.getcwd()).run_experiment()


def run_dqn_zoo(request: dict[str, Any], count: Count) -> None:
    """DQN Zoo's dqn."""
    sys.path.insert(0, request["path"])
    peer_dqn_zoo.stand_in_for_what_it_pins()
    import jax
    from dqn_zoo import parts

    run_loop = parts.run_loop

    def counted(*arguments: Any, **named: Any) -> Any:
        for frame in run_loop(*arguments, **named):  # its loop repeats the actions itself
            yield frame
            count(0.25)

    parts.run_loop = counted
    flags = {
        "environment_name": re.sub(r"(?<=[a-z])(?=[A-Z])", "_", request["game"]).lower(),
        "replay_capacity": request["replay_capacity"],
        "min_replay_capacity_fraction": LEARNING_STARTS / request["replay_capacity"],
        "batch_size": request["batch_size"],
        "learn_period": 4 * request["update_period"],  # frames
        "exploration_epsilon_begin_value": request["epsilon"],
        "exploration_epsilon_end_value": request["epsilon"],
        "num_train_frames": 10**9,
        "num_eval_frames": 0,
        "results_csv_path": "",
        "jax_platform_name": jax.default_backend(),
    }
    sys.argv = ["run_atari", *(f"--{flag}={value}" for flag, value in flags.items())]
    runpy.run_module("dqn_zoo.dqn.run_atari", run_name="__main__")


# (the request of `peers.start`, count); none returns.
LOOPS: dict[str, Callable[[dict[str, Any], Count], None]] = {
    "sb3": run_sb3,
    "cleanrl": run_cleanrl,
    "dopamine": run_dopamine,
    "dqn_zoo": run_dqn_zoo,
}
