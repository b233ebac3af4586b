"""The DQN update against a few lines of NumPy."""

import jax
import numpy as np
import pytest

from agents import registry, runner
from agents.agent import Transition
from agents.presets import Settings
from agents.replay import Replay, ReplayState, Sample
from agents.replay import ring as rings
from dqnlab import optim
from dqnlab.types import EnvSpec

SPEC = EnvSpec("model", 4, 3, ("a", "b", "c"), (5,), "float32", 1, 1, {}, False)
BATCH = 6


WEIGHTS = np.array([1.0, 0.5, 0.9, 0.2, 0.0, 0.7], np.float32)


def fixed_replay(batch: Transition, weights: np.ndarray = WEIGHTS) -> Replay:
    """A replay that always hands out the same batch."""
    return Replay(
        init=lambda: ReplayState(rings.init(SPEC, 100)),
        add=lambda state, *_: state,
        sample=lambda state, key: Sample(batch, weights, ()),
        update=lambda state, *_: state,
        min_rows=1,
    )


def relu_net(layers, x):
    """[B, 5] -> hidden activations and Q-values: torso layer, hidden layer, output layer."""
    h1 = np.maximum(x @ layers[0][0] + layers[0][1], 0)
    h2 = np.maximum(h1 @ layers[1][0] + layers[1][1], 0)
    return h1, h2, h2 @ layers[2][0] + layers[2][1]


@pytest.mark.parametrize(
    ("double", "clip_weighted_errors"), [(False, False), (True, False), (False, True)]
)
def test_one_update_equals_numpy(double, clip_weighted_errors):
    rng = np.random.default_rng(0)
    f32 = np.float32
    batch = Transition(
        s_tm1=rng.normal(size=(BATCH, 5, 1)).astype(f32),
        a_tm1=rng.integers(0, 3, BATCH).astype(np.int32),
        r_t=(3 * rng.normal(size=BATCH)).astype(f32),
        discount_t=np.array([0.9, 0.9, 0.0, 0.9, 0.81, 0.9], f32),
        s_t=rng.normal(size=(BATCH, 5, 1)).astype(f32),
    )
    settings = Settings(
        num_envs=4,
        double=double,
        dueling=False,
        hidden=7,
        torso="mlp",
        precision="float32",
        clip_weighted_errors=clip_weighted_errors,
    )
    lr, eps = 0.01, 0.02
    agent = registry.make("dqn", settings, SPEC)
    run = runner.make(agent, fixed_replay(batch), settings, SPEC, optim.make("adam", lr, eps))
    state = run.init(0)
    # A target network unlike the online one, as it is between copies.
    state = state._replace(target_params=agent.init(jax.random.PRNGKey(9))[0])
    new = run.learn(state)

    def layers_of(params):
        names = sorted(params)  # mlp/dense, q_head/q, q_head/q_hidden
        order = [names[0], names[2], names[1]]
        return [(np.asarray(params[n]["w"]), np.asarray(params[n]["b"])) for n in order]

    online, target = layers_of(state.train.params), layers_of(state.target_params)
    x, x_next = batch.s_tm1[..., 0], batch.s_t[..., 0]
    h1, h2, q = relu_net(online, x)
    q_next = relu_net(target, x_next)[2]
    chosen = (relu_net(online, x_next)[2] if double else q_next).argmax(1)
    rows = np.arange(BATCH)
    goal = batch.r_t + batch.discount_t * q_next[rows, chosen]
    error = goal - q[rows, batch.a_tm1]
    assert (np.abs(error) > 1).any()
    # w huber(error), or huber(w error) / w: w^2 error^2 / 2 up to |w error| = 1.
    bound = np.where(clip_weighted_errors, 1 / np.maximum(WEIGHTS, 1e-9), 1)
    size = np.abs(error)
    huber = WEIGHTS * np.where(size <= bound, 0.5 * error**2, bound * (size - 0.5 * bound))
    dq = np.zeros_like(q)
    dq[rows, batch.a_tm1] = -WEIGHTS * np.clip(error, -bound, bound) / BATCH
    dh2 = (dq @ online[2][0].T) * (h2 > 0)
    dh1 = (dh2 @ online[1][0].T) * (h1 > 0)
    grads = [(x.T @ dh1, dh1.sum(0)), (h1.T @ dh2, dh2.sum(0)), (h2.T @ dq, dq.sum(0))]

    np.testing.assert_allclose(new.totals["loss"] / new.totals["updates"], huber.mean(), rtol=1e-5)
    for got, was, grad in zip(layers_of(new.train.params), online, grads, strict=True):
        for new_array, old_array, g in zip(got, was, grad, strict=True):
            # Adam's first step: both moments, corrected for their bias, are g and g squared.
            expected = old_array - lr * g / (np.abs(g) + eps)
            np.testing.assert_allclose(new_array, expected, atol=2e-6)


@pytest.mark.parametrize("copy_every", [2, 3])  # updates: with two a launch, at its end or within
def test_the_target_is_copied_after_the_same_updates_however_many_a_launch_holds(copy_every):
    rng = np.random.default_rng(1)
    batch = Transition(
        s_tm1=rng.normal(size=(BATCH, 5, 1)).astype(np.float32),
        a_tm1=rng.integers(0, 3, BATCH).astype(np.int32),
        r_t=rng.normal(size=BATCH).astype(np.float32),
        discount_t=np.full(BATCH, 0.9, np.float32),
        s_t=rng.normal(size=(BATCH, 5, 1)).astype(np.float32),
    )

    def states(num_envs: int, launches: int) -> list[runner.RunState]:
        settings = Settings(
            num_envs=num_envs,
            update_period=4,
            target_update_period=4 * copy_every,
            hidden=7,
            torso="mlp",
            precision="float32",
        )
        agent = registry.make("dqn", settings, SPEC)
        optimizer = optim.make("adam", 0.01, 0.02)
        run = runner.make(agent, fixed_replay(batch), settings, SPEC, optimizer)
        learn, found = jax.jit(run.learn), [run.init(0)]
        for _ in range(launches):
            found.append(learn(found[-1]))
        return found

    one_by_one, two_by_two = states(4, 6), states(8, 3)
    for updates, state in enumerate(one_by_one):
        copied = one_by_one[updates - updates % copy_every].train.params
        jax.tree.map(np.testing.assert_array_equal, state.target_params, copied)
    for singles, pairs in zip(one_by_one[::2], two_by_two, strict=True):
        assert int(pairs.train.step) == int(singles.train.step)
        for ours, theirs in (
            (pairs.train, singles.train),
            (pairs.target_params, singles.target_params),
        ):
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), ours, theirs)
