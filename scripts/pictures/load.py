"""From a run folder to a subject: an agent with frames of its own play, or a task's net."""

import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import envs
from agents import evaluation, policy, runner
from agents.policy import Policy
from dqnlab import batches
from dqnlab.types import PyTree, UserError
from envs import protocols
from scripts.pictures.subject import Subject
from scripts.tasks import saved, table

GAMES = 8  # played side by side
EVERY = 8  # agent steps between two frames that are kept; 1 in games without frame skip


def subject(run_dir: Path, which: str, number: int, seed: int) -> Subject:
    """The net of a run with `number` inputs. UserError where the folder is no run."""
    if number < 2:
        raise UserError(f"--frames is {number}; it must be at least 2")
    if saved.is_supervised(run_dir):
        return _supervised(run_dir, which, number, seed)
    return _agent(run_dir, which, number, seed)


def _agent(run_dir: Path, which: str, number: int, seed: int) -> Subject:
    trained = policy.load(run_dir, which)
    agent, spec = trained.agent, trained.spec
    stacks, cores, moments = play(trained, number, seed)

    def forward(params: Any, x: Any, core: PyTree) -> Any:
        key = jax.random.PRNGKey(0)
        return agent.q_values(params, trained.net_state, key, x, core, False)[0]

    name = policy.read_config(run_dir)["agent"]
    frames = trained.agent_steps * spec.frame_skip
    return Subject(
        title=f"{spec.game}, {name} after {frames:,} frames",
        params=jax.tree.map(jnp.asarray, trained.params),
        forward=forward,
        x=stacks,
        context=cores,
        output="Q-value",
        names=tuple(spec.action_meanings),
        labels=None,
        moments=moments,
        vocabulary={},
    )


def play(trained: Policy, number: int, seed: int) -> tuple[np.ndarray, PyTree, np.ndarray]:
    """Frames that the agent meets in its own games, in order of time.

    Returns stacks[N, *obs_shape, K], recurrent states [N, ...] before them, and int[N, 2]: which
    game they are from, and its agent step.
    """
    protocol = protocols.of_run(trained.spec.protocol)
    env = envs.make(trained.spec.game, GAMES, protocol, training=False)
    spec = env.spec
    greedy = evaluation.make_policy(trained.agent, spec.num_actions)
    epsilon = trained.settings.evaluation_epsilon

    def act(params: Any, net_state: Any, stack: Any, core: Any, timestep: Any, step: Any) -> Any:
        key = jax.random.fold_in(jax.random.PRNGKey(seed), step)
        stack, core = runner.observe(trained.agent, stack, core, timestep)
        action, after, _ = greedy(params, net_state, key, stack, core, epsilon)
        return stack, core, after, action

    jitted = functools.partial(jax.jit(act), trained.params, trained.net_state)
    stack = jnp.zeros((GAMES, *spec.obs_shape, spec.stack), spec.obs_dtype)
    core, kept = trained.agent.core(GAMES), []
    every = EVERY if spec.frame_skip > 1 else 1
    first_game, steps = np.arange(GAMES), np.zeros(GAMES, int)
    try:
        state, timestep = env.reset(seed)
        for step in range(-(-number // GAMES) * every):
            stack, before, core, action = jitted(stack, core, timestep, jnp.uint32(step))
            if step % every == every - 1:
                moment = np.stack([first_game, steps], axis=1)
                kept.append((np.asarray(stack), jax.device_get(before), moment))
            state, timestep = env.step(state, np.asarray(action))
            is_new = np.asarray(timestep.first)
            first_game, steps = first_game + GAMES * is_new, np.where(is_new, 0, steps + 1)
    finally:
        env.close()
    joined = jax.tree.map(lambda *each: np.concatenate(each)[:number], *kept)
    return joined  # type: ignore[no-any-return]


def _supervised(run_dir: Path, which: str, number: int, seed: int) -> Subject:
    trained = saved.load(run_dir, which)
    test = table.find(trained.task).load(trained.config, trained.seed).test
    size = batches.num_examples(test)
    chosen = np.random.default_rng(seed).permutation(size)[:number]
    part = batches.take(test, np.sort(chosen))
    names, labels, context = None, None, ()
    y = part.get("y")
    outputs = jax.eval_shape(trained.apply, batches.take(part["x"], np.arange(2)))
    if isinstance(outputs, jax.ShapeDtypeStruct) and len(outputs.shape) == 2:
        classes = trained.info.get("classes")
        is_classified = classes is not None and len(classes) == outputs.shape[1]
        names = tuple(map(str, classes if is_classified else range(outputs.shape[1])))
        if is_classified and y is not None and np.issubdtype(y.dtype, np.integer):
            labels = y

    def forward(params: Any, x: Any, context: PyTree) -> Any:
        del context
        return trained.net.apply(params, trained.net_state, None, x, False)[0]  # draws nothing

    return Subject(
        title=f"{trained.task}, seed {trained.seed}",
        params=trained.params,
        forward=forward,
        x=part["x"],
        context=context,
        output="output" if labels is None else "logit",
        names=names,
        labels=labels,
        moments=None,
        vocabulary={k: v for k, v in trained.info.items() if isinstance(v, str)},
    )
