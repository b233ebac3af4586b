"""A saved net as one pure function with named outputs: what is exported, and what is served."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from agents import policy
from agents.policy import Policy
from dqnlab import run_folder
from dqnlab.types import Array, UserError
from scripts.tasks.task import Trained


class Predictor(NamedTuple):
    """Parameters included; `predict` can be traced for any number of inputs B."""

    predict: Callable[[Array], dict[str, Array]]  # [B, *shape] -> {name: [B, ...]}
    shape: tuple[int, ...]  # of one input, without B
    dtype: str
    labels: tuple[str, ...]  # what the outputs' last axis counts: actions or classes
    about: dict[str, Any]  # JSON: where the net comes from, what its inputs and outputs are


def load(run_dir: Path, checkpoint: str) -> Predictor:
    """The net of a run folder, of an agent or of a supervised task.

    `checkpoint` is `best`, `last`, or for agents the agent steps of a kept one.

    Raises UserError for a folder that is no run, for agents with a memory and for nets of several
    inputs.
    """
    config = run_folder.read_json(run_dir / run_folder.CONFIG)
    if isinstance(config, dict) and config.get("kind") == "supervised":
        from scripts.tasks import saved  # only now: all tasks with their data take seconds

        return of_task(saved.load(run_dir, checkpoint))
    trained = policy.load(run_dir, checkpoint)
    return of_agent(trained, config["agent"])


def of_agent(trained: Policy, name: str) -> Predictor:
    """Frame stacks -> Q-values and greedy actions, exactly those of `Policy`.

    Raises UserError for an agent whose actions also depend on what it saw before the stack.
    """
    if jax.tree.leaves(trained.agent.core(1)):
        raise UserError(
            f"{name} has a memory (LSTM) beside its stack of frames; only agents without one can "
            "be exported or served"
        )
    spec = trained.spec

    def predict(frames: Array) -> dict[str, Array]:
        q = trained.q_values(frames)
        return {"q_values": q, "action": jnp.argmax(q, axis=-1).astype(jnp.int32)}

    about = {
        "kind": "agent",
        "agent": name,
        "game": spec.game,
        "action_meanings": list(spec.action_meanings),
        "protocol": spec.protocol,
        "frame_skip": spec.frame_skip,
        "agent_steps": trained.agent_steps,
        "input": "the last observations along the last axis, oldest first, zeros before the first",
        "outputs": {
            "q_values": "expected discounted return of each action",
            "action": "index of the largest of them",
        },
    }
    shape = (*spec.obs_shape, spec.stack)
    return Predictor(predict, shape, spec.obs_dtype, spec.action_meanings, about)


def of_task(trained: Trained) -> Predictor:
    """Inputs -> the net's outputs, and for a classifier the most probable class.

    Raises UserError for a net that takes several arrays.
    """
    inputs, structure = jax.tree.flatten(trained.x)
    if len(inputs) != 1:
        raise UserError(
            f"{trained.task} takes several inputs ({', '.join(trained.x)}); only nets of one input "
            "can be exported or served"
        )
    (one,) = inputs
    labels = tuple(map(str, trained.info.get("classes", ())))

    def outputs_of(x: Array) -> dict[str, Array]:
        # Without a key: what a net draws (a VAE its code) would differ with an input's place in
        # the batch.
        return _named(trained.apply(structure.unflatten([x])))

    def classify(x: Array) -> dict[str, Array]:
        logits = outputs_of(x)["outputs"]
        chosen = jnp.argmax(logits, axis=-1).astype(jnp.int32)
        return {"logits": logits, "probabilities": jax.nn.softmax(logits), "class": chosen}

    three = jax.ShapeDtypeStruct((3, *one.shape), one.dtype)
    like = jax.eval_shape(outputs_of, three)
    for name, each in like.items():
        if each.shape[:1] != (3,):
            raise UserError(f"{trained.task}: {name} is not one row per input: {each.shape}")
    is_classifier = set(like) == {"outputs"} and like["outputs"].shape[-1] == len(labels)
    predict = classify if is_classifier else outputs_of
    meanings = {
        "logits": "unnormalised log-probability of each class",
        "probabilities": "of each class",
        "class": "index of the most probable one",
    }
    names = jax.eval_shape(predict, three)
    about = {
        "kind": "supervised",
        "task": trained.task,
        "info": trained.info,
        "input": "as in the task's data",
        "outputs": {name: meanings.get(name, "of the net, see the task") for name in names},
    }
    return Predictor(predict, one.shape, str(one.dtype), labels, about)


def _named(outputs: Any) -> dict[str, Array]:
    """The arrays of a net's outputs by name: `outputs` where there is only one."""
    leaves = jax.tree_util.tree_leaves_with_path(outputs)
    if len(leaves) == 1:
        return {"outputs": leaves[0][1]}
    return {jax.tree_util.keystr(path, simple=True, separator="."): x for path, x in leaves}
