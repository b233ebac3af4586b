"""What is minimised: the mean loss of a net on a batch, plus penalties on its weights."""

from collections.abc import Callable
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
import optax

from dqnlab.fit import Evaluate
from dqnlab.train import LossAux, LossFn, TrainState
from dqnlab.types import Array, Params, PyTree

# (params, net_state, key, batch, is_training) -> (scalar, LossAux)
Loss = Callable[[Params, PyTree, Array, Any, bool], tuple[Array, LossAux]]
# (the net's outputs, batch) -> (scalar, scalars to report)
Criterion = Callable[[Any, Any], tuple[Array, dict[str, Array]]]


def supervised(
    net: hk.TransformedWithState,
    criterion: Criterion,
    augment: Callable[[Array, Any], Any] | None = None,
) -> Loss:
    """The loss of a net that maps `batch["x"]` to outputs.

    Args:
      net: its function takes (x, is_training).
      criterion: (outputs, batch) -> (scalar, metrics).
      augment: (key, batch) -> batch, in training only.
    """

    def loss(
        params: Params, net_state: PyTree, key: Array, batch: Any, is_training: bool
    ) -> tuple[Array, LossAux]:
        net_key, augment_key = jax.random.split(key)
        if augment is not None and is_training:
            batch = augment(augment_key, batch)
        outputs, net_state = net.apply(params, net_state, net_key, batch["x"], is_training)
        value, metrics = criterion(outputs, batch)
        return value, LossAux(net_state, metrics)

    return loss


def classification(outputs: Array, batch: dict[str, Array]) -> tuple[Array, dict[str, Array]]:
    """Multinomial logistic loss of logits [..., K] for labels batch["y"] int[...], and the error.

    log sum_k exp(z_k) - z_y, in nats; `error` is the share of wrong classes.
    """
    labels = batch["y"]
    value = mean(optax.softmax_cross_entropy_with_integer_labels(outputs, labels), batch)
    return value, {"error": mean(jnp.argmax(outputs, axis=-1) != labels, batch)}


def regression(outputs: Array, batch: dict[str, Array]) -> tuple[Array, dict[str, Array]]:
    """Half the squared error of outputs [B, ...] against batch["y"], and the absolute error."""
    targets = batch["y"].reshape(outputs.shape)
    error = mean(jnp.abs(outputs - targets), batch)
    return mean(optax.l2_loss(outputs, targets), batch), {"mae": error}


def squared(outputs: Array, batch: dict[str, Array]) -> tuple[Array, dict[str, Array]]:
    """The squared error of outputs [B, ...] against batch["y"], twice `regression`."""
    value, metrics = regression(outputs, batch)
    return 2 * value, metrics


def binary(outputs: Array, batch: dict[str, Array]) -> tuple[Array, dict[str, Array]]:
    """Binary logistic loss of logits [B, ...] for batch["y"] in 0..1, and the share of errors."""
    targets = batch["y"].reshape(outputs.shape)
    value = mean(optax.sigmoid_binary_cross_entropy(outputs, targets), batch)
    return value, {"error": mean((outputs > 0) != (targets > 0.5), batch)}


def absolute(outputs: Array, batch: dict[str, Array]) -> tuple[Array, dict[str, Array]]:
    """The mean absolute error of outputs [B, ...] against batch["y"]."""
    return mean(jnp.abs(outputs - batch["y"].reshape(outputs.shape)), batch), {}


def with_accuracy(criterion: Criterion) -> Criterion:
    """Add the metric `accuracy` to a criterion that has the metric `error`."""

    def measured(outputs: Any, batch: Any) -> tuple[Array, dict[str, Array]]:
        value, metrics = criterion(outputs, batch)
        has_error = criterion in (classification, binary)
        return value, {**metrics, "accuracy": 1 - metrics["error"]} if has_error else metrics

    return measured


def mean(values: Array, batch: dict[str, Array]) -> Array:
    """The mean of values [B, ...], each times its batch["weight"] [B] or [B, T ...] if it has one.

    Weights have a mean of 1 over the data, not over the batch: light examples count less.
    """
    if "weight" not in batch:
        return jnp.mean(values)
    weight = batch["weight"]
    weight = weight.reshape(weight.shape + (1,) * (values.ndim - weight.ndim))
    return jnp.mean(values * weight)


# By the names that people know them under, too.
CRITERIA: dict[str, Criterion] = {
    "classification": classification,
    "categorical_crossentropy": classification,
    "sparse_categorical_crossentropy": classification,
    "binary_crossentropy": binary,
    "regression": regression,
    "mean_squared_error": squared,
    "mse": squared,
    "mean_absolute_error": absolute,
    "mae": absolute,
}


def for_training(loss: Loss, l1: float = 0.0, l2: float = 0.0) -> LossFn:
    """The loss as `make_update` takes it, with penalties on the weights.

    loss + l1 sum |w| + l2/2 sum w², over arrays of two or more axes: biases, and the scales and
    offsets of normalisation, are free (as in optax.adamw's masks). The metric `loss` is the sum.
    """

    def penalised(
        params: Params, net_state: PyTree, key: Array, batch: Any
    ) -> tuple[Array, LossAux]:
        value, aux = loss(params, net_state, key, batch, True)
        weights = [leaf for leaf in jax.tree.leaves(params) if leaf.ndim > 1]
        if l1:
            value = value + l1 * sum(jnp.abs(w).sum() for w in weights)
        if l2:
            value = value + l2 / 2 * sum(jnp.square(w).sum() for w in weights)
        return value, aux

    return penalised


def for_evaluation(loss: Loss) -> Evaluate:
    """The loss without penalties, dropout and augmentation, as `fit` takes it to validate."""

    def evaluate(state: TrainState, key: Array, batch: Any) -> dict[str, Array]:
        value, aux = loss(state.params, state.net_state, key, batch, False)
        return {**aux.metrics, "loss": value}

    return evaluate
