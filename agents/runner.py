"""Acting and learning as jitted functions over one donated state.

Both drivers (agents/driver.py) run the same two: with the emulator between them on the host, or
inside one `lax.scan` with a game written in JAX.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from agents import td
from agents.agent import Agent
from agents.replay import Replay
from agents.settings import Settings, whole
from dqnlab import train
from dqnlab.train import LossAux, TrainState
from dqnlab.types import Array, EnvSpec, Params, PyTree, TimeStep

NEVER = -1  # value of RunState.bad_update while every update was finite


class RunState(NamedTuple):
    """Everything that learns or decides in a run. All of it is checkpointed."""

    train: TrainState
    target_params: Params
    replay: PyTree
    stack: Array  # [N, *obs_shape, K]: what the agent sees now
    core: PyTree  # recurrent state of acting
    key: Array  # uint32[2], never changes: keys are folded out of it by counters
    rows: Array  # int32[]: vector steps taken; agent steps = rows * N
    totals: dict[str, Array]  # sums of the learner's metrics since the last log row
    bad_update: Array  # int32[]: first update with a loss or gradient not finite, or NEVER


class Choice(NamedTuple):
    """What M games showed and what is done there, before it is stored."""

    timestep: TimeStep  # [M]
    stack: Array  # [M, *obs_shape, K]
    core: PyTree  # recurrent state before the forward pass, and after it
    next_core: PyTree
    q: Array  # float32[M, A]
    action: Array  # int32[M]


class Runner(NamedTuple):
    """The functions of one run: pure, not jitted, so that drivers compose them.

    init    (seed) -> RunState
    act     (RunState, TimeStep[N]) -> (RunState, int32[N]): chooses actions, stores the row
    choose  (RunState, TimeStep[M], first of M games) -> Choice[M]: the actions of a group of games
    store   (RunState, all groups' choices in order) -> RunState: with `choose` before it, `act`
    learn   (RunState) -> RunState: `updates` gradient steps
    """

    init: Callable[[Any], RunState]
    act: Callable[[RunState, TimeStep], tuple[RunState, Array]]
    choose: Callable[[RunState, TimeStep, Any], Choice]
    store: Callable[[RunState, Sequence[Choice]], RunState]
    learn: Callable[[RunState], RunState]
    is_due: Callable[[Any], Any]  # rows (int or Array) -> whether `learn` follows this `act`
    spec: EnvSpec
    settings: Settings


def epsilon(settings: Settings, agent_steps: Any) -> Any:
    """Share of random actions after so many agent steps; works on ints and arrays."""
    decay = max(whole(settings.epsilon_decay_steps), 1)
    progress = jnp.clip((agent_steps - settings.learning_starts) / decay, 0.0, 1.0)
    start, end = settings.epsilon_initial, settings.epsilon_final
    share = start + (end - start) * progress
    if settings.epsilon_off_steps is None:
        return share
    return jnp.where(agent_steps < settings.epsilon_off_steps, share, 0.0)


def push(stack: Array, timestep: TimeStep) -> Array:
    """Append the new frame to each game's stack; at an episode's start the rest is zero."""
    first = jnp.asarray(timestep.first).reshape((-1,) + (1,) * (stack.ndim - 1))
    kept = jnp.where(first, jnp.zeros((), stack.dtype), stack[..., 1:])
    return jnp.concatenate([kept, jnp.asarray(timestep.obs)[..., None]], axis=-1)


def observe(agent: Agent, stack: Array, core: PyTree, timestep: TimeStep) -> tuple[Array, PyTree]:
    """Bring what the agent sees and remembers up to date; both start anew with an episode."""
    first = jnp.asarray(timestep.first)

    def fresh(initial: Array, carried: Array) -> Array:
        return jnp.where(first.reshape((-1,) + (1,) * (carried.ndim - 1)), initial, carried)

    return push(stack, timestep), jax.tree.map(fresh, agent.core(first.shape[0]), core)


def make(
    agent: Agent,
    replay: Replay,
    settings: Settings,
    spec: EnvSpec,
    optimizer: optax.GradientTransformation,
) -> Runner:
    """Put an agent, a replay and an optimizer together for games of this spec."""
    updates, rows_per_learn = settings.updates_and_steps()
    target_period = settings.target_update_period // settings.update_period  # in updates
    # Where no copy falls between the updates of a call, the target network stays out of their loop,
    # and what XLA makes of it alone (weights rounded to bfloat16) is made once a call.
    is_copied_inside = target_period % updates != 0
    update = train.make_update(_weighted_loss(agent, settings), optimizer)

    def init(seed: Any) -> RunState:
        key = jax.random.PRNGKey(seed)
        params, net_state = agent.init(jax.random.fold_in(key, 2))
        return RunState(
            train=train.init(params, net_state, optimizer),
            target_params=jax.tree.map(jnp.copy, params) if agent.has_target else (),
            replay=replay.init(),
            stack=jnp.zeros((spec.num_envs, *spec.obs_shape, spec.stack), spec.obs_dtype),
            core=agent.core(spec.num_envs),
            key=key,
            rows=jnp.zeros((), jnp.int32),
            totals={name: jnp.zeros((), jnp.float32) for name in (*metric_names(), "updates")},
            bad_update=jnp.full((), NEVER, jnp.int32),
        )

    def metric_names() -> list[str]:
        # What the loss reports is known from its abstract evaluation, so that the sums exist
        # (with fixed types) before the first update.
        def one_update() -> LossAux:
            params, net_state = agent.init(jax.random.PRNGKey(0))
            state = train.init(params, net_state, optimizer)
            sample = replay.sample(replay.init(), jax.random.PRNGKey(0))
            return update(state, jax.random.PRNGKey(0), (params, sample))[1]

        return sorted(jax.eval_shape(one_update).metrics)

    def act(state: RunState, timestep: TimeStep) -> tuple[RunState, Array]:
        choice = choose(state, timestep, 0)
        return store(state, [choice]), choice.action

    def choose(state: RunState, timestep: TimeStep, start: Any) -> Choice:
        size = timestep.first.shape[0]

        def mine(of_all: Array) -> Array:
            if size == spec.num_envs:
                return of_all
            return lax.dynamic_slice_in_dim(of_all, start, size)

        key = jax.random.fold_in(jax.random.fold_in(state.key, 0), state.rows)
        net_key, explore_key, action_key = jax.random.split(key, 3)
        seen, remembered = mine(state.stack), jax.tree.map(mine, state.core)
        stack, core = observe(agent, seen, remembered, timestep)
        q, next_core = agent.q_values(
            state.train.params, state.train.net_state, net_key, stack, core, True
        )
        greedy = jnp.argmax(q, axis=-1).astype(jnp.int32)
        # Drawn for all games: a game explores alike, whatever its group.
        shape = (spec.num_envs,)
        random = jax.random.randint(action_key, shape, 0, spec.num_actions, jnp.int32)
        is_random = jax.random.uniform(explore_key, shape) < epsilon(
            settings, state.rows * spec.num_envs
        )
        action = jnp.where(mine(is_random), mine(random), greedy)
        if settings.reward_clip is not None:
            clipped = jnp.clip(timestep.reward, -settings.reward_clip, settings.reward_clip)
            timestep = timestep._replace(reward=clipped)
        return Choice(timestep, stack, core, next_core, q, action)

    def store(state: RunState, choices: Sequence[Choice]) -> RunState:
        row = choices[0]
        if len(choices) > 1:
            row = jax.tree.map(lambda *parts: jnp.concatenate(parts), *choices)
        added = replay.add(state.replay, row.timestep, row.action, row.core)
        return state._replace(
            replay=replay.note(added, row.q),
            stack=row.stack,
            core=row.next_core,
            rows=state.rows + 1,
        )

    def learn_once(state: RunState, _: None) -> tuple[RunState, None]:
        key = jax.random.fold_in(jax.random.fold_in(state.key, 1), state.train.step)
        sample_key, loss_key = jax.random.split(key)
        sample = replay.sample(state.replay, sample_key)
        new, aux = update(state.train, loss_key, (state.target_params, sample))
        is_finite = jnp.isfinite(aux.metrics["loss"] + aux.metrics["grad_norm"])
        is_first_bad = (state.bad_update == NEVER) & ~is_finite
        sums = {name: state.totals[name] + value for name, value in aux.metrics.items()}
        return state._replace(
            train=new,
            target_params=(
                next_target(new, state.target_params) if is_copied_inside else state.target_params
            ),
            replay=replay.update(state.replay, sample.indices, aux.extra),
            totals={**sums, "updates": state.totals["updates"] + 1},
            bad_update=jnp.where(is_first_bad, new.step, state.bad_update),
        ), None

    def next_target(new: TrainState, target_params: Params) -> Params:
        if not agent.has_target:
            return target_params
        return lax.cond(new.step % target_period == 0, lambda: new.params, lambda: target_params)

    def learn(state: RunState) -> RunState:
        key = jax.random.fold_in(jax.random.fold_in(state.key, 3), state.train.step)
        state = state._replace(replay=replay.begin(state.replay, key))
        state = lax.scan(learn_once, state, None, length=updates)[0]
        return state._replace(target_params=next_target(state.train, state.target_params))

    def is_due(rows: Any) -> Any:
        is_full_enough = (rows >= replay.min_rows) & (
            rows * spec.num_envs >= settings.learning_starts
        )
        return is_full_enough & (rows % rows_per_learn == 0)

    return Runner(init, act, choose, store, learn, is_due, spec, settings)


def _weighted_loss(agent: Agent, settings: Settings) -> train.LossFn:
    delta = settings.huber_delta if settings.clip_weighted_errors else None

    def loss_fn(params: Params, net_state: PyTree, key: Array, batch: Any) -> tuple[Array, LossAux]:
        target_params, sample = batch
        out = agent.loss(params, target_params, net_state, key, sample.batch)
        losses = sample.weights * out.loss
        if delta is not None and out.td_error is not None:
            losses = td.clipped_after_weighting(out.td_error, sample.weights, delta)
        loss = jnp.mean(losses)
        return loss, LossAux(out.net_state, out.metrics, out.priority)

    return loss_fn
