"""Multi-layer perceptrons as scikit-learn estimators: for pipelines, grids, cross-validation."""

import functools
from typing import Any, Self

import haiku as hk
import jax
import numpy as np
import optax
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from dqnlab import fit, objective, optim, preprocess, schedules, train
from dqnlab.objective import Criterion
from dqnlab.types import Array, Params

_ROWS = 256  # predictions are made in blocks of so many rows


class _Perceptron(BaseEstimator):  # type: ignore[misc]
    # What the two estimators share; a base class because scikit-learn's interface is one.

    def __init__(
        self,
        hidden: tuple[int, ...] = (128,),
        epochs: int = 100,
        batch_size: int = 32,
        learning_rate: float = 2e-3,
        schedule: str = "cosine",
        optimizer: str = "adam",
        weight_decay: float = 1e-2,
        dropout: float = 0.0,
        random_state: Any = 0,
    ):
        self.hidden = hidden
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.optimizer = optimizer
        self.weight_decay = weight_decay
        self.dropout = dropout
        self.random_state = random_state

    def _fit_net(self, x: np.ndarray, y: np.ndarray, num_outputs: int, loss: Criterion) -> None:
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        self._standardizer = preprocess.standardizer(x)
        data = {"x": self._standardizer(x).astype(np.float32), "y": y}
        batch_size = min(self.batch_size, len(x))
        steps = self.epochs * -(-len(x) // batch_size)
        recipe = (self.optimizer, self.schedule, self.learning_rate, steps, self.weight_decay)
        net = _net(tuple(self.hidden), num_outputs, self.dropout)
        optimizer, update = _learner(net, loss, *recipe)
        params, state = net.init(jax.random.PRNGKey(seed), data["x"][:2], True)
        fitted = fit.fit(
            train.init(params, state, optimizer),
            update,
            data,
            epochs=self.epochs,
            batch_size=batch_size,
            seed=seed,
        )
        self.params_: Params = jax.device_get(fitted.state.params)
        self.history_ = fitted.history
        self.n_iter_ = len(fitted.history)
        self._num_outputs = num_outputs

    def _outputs(self, x: Any) -> np.ndarray:
        check_is_fitted(self)
        x = validate_data(self, x, dtype=np.float32, reset=False)
        x = self._standardizer(x).astype(np.float32)
        apply = _forward(_net(tuple(self.hidden), self._num_outputs, 0.0))
        # Blocks of one size: a row's result does not depend on how many come with it.
        blocks = [x[start : start + _ROWS] for start in range(0, len(x), _ROWS)]
        filled = [np.pad(block, ((0, _ROWS - len(block)), (0, 0))) for block in blocks]
        outputs = np.concatenate([np.asarray(apply(self.params_, block)) for block in filled])
        return outputs[: len(x)].astype(np.float64)


class Classifier(ClassifierMixin, _Perceptron):  # type: ignore[misc]
    """An MLP classifier with softmax outputs; features are standardised on the training data.

    Args:
      hidden: units of each hidden layer (ReLU).
      epochs, batch_size, learning_rate, schedule, optimizer, weight_decay: as in train_supervised.
      dropout: share of hidden units dropped in training.
      random_state: seed, `numpy.random.RandomState`, or None.
    """

    def fit(self, X: Any, y: Any) -> Self:
        """X [N, D], y [N] of any labels; ValueError for anything else."""
        x, y = validate_data(self, X, y, dtype=np.float32)
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        labels = labels.reshape(-1).astype(np.int32)
        self._fit_net(x, labels, len(self.classes_), objective.classification)
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """[N, D] -> probabilities [N, classes]."""
        logits = self._outputs(X)
        shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))

    def predict(self, X: Any) -> np.ndarray:
        """[N, D] -> labels [N]."""
        probabilities = self.predict_proba(X)
        return np.asarray(self.classes_[np.argmax(probabilities, axis=1)])


class Regressor(RegressorMixin, _Perceptron):  # type: ignore[misc]
    """An MLP regressor for one or more targets; features and targets are standardised.

    Args: those of `Classifier`.
    """

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: Any, y: Any) -> Self:
        """X [N, D], y [N] or [N, K]; ValueError for anything else."""
        x, y = validate_data(self, X, y, dtype=np.float32, multi_output=True, y_numeric=True)
        self._is_flat = y.ndim == 1
        targets = y.reshape(len(y), -1).astype(np.float32)
        self._targets = preprocess.standardizer(targets)
        targets = self._targets(targets)
        self._fit_net(x, targets, targets.shape[1], objective.regression)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """[N, D] -> [N], or [N, K] where that was fitted."""
        outputs = self._outputs(X)
        y = outputs * self._targets.deviation[None] + self._targets.mean[None]
        return np.asarray(y[:, 0] if self._is_flat else y)


# Kept, so that the folds of a cross-validation compile once and not each anew.


@functools.lru_cache(maxsize=32)
def _learner(
    net: hk.TransformedWithState,
    loss: Criterion,
    optimizer: str,
    schedule: str,
    learning_rate: float,
    steps: int,
    weight_decay: float,
) -> tuple[optax.GradientTransformation, Any]:
    rate = schedules.make(schedule, learning_rate, steps)
    made = optim.make(optimizer, rate, weight_decay=weight_decay)
    return made, train.make_update(objective.for_training(objective.supervised(net, loss)), made)


@functools.lru_cache(maxsize=32)
def _forward(net: hk.TransformedWithState) -> Any:
    return jax.jit(lambda params, x: net.apply(params, {}, None, x, False)[0])


@functools.lru_cache(maxsize=32)
def _net(hidden: tuple[int, ...], num_outputs: int, dropout: float) -> hk.TransformedWithState:
    def forward(x: Array, is_training: bool) -> Array:
        init = hk.initializers.VarianceScaling(2.0, "fan_in", "truncated_normal")
        for size in hidden:
            x = jax.nn.relu(hk.Linear(size, w_init=init)(x))
            if is_training and dropout:
                x = hk.dropout(hk.next_rng_key(), dropout, x)
        outputs: Array = hk.Linear(num_outputs)(x)
        return outputs

    return hk.transform_with_state(forward)
