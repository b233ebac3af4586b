"""The multi-layer perceptron of both estimators: its net, how it learns, and what it keeps.

Nets and updates are kept, so that the folds of a cross-validation compile once.
"""

import functools
from typing import Any, NamedTuple

import haiku as hk
import jax
import numpy as np
import optax
from sklearn.base import BaseEstimator, is_classifier
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from dqnlab import (
    arguments,
    batches,
    fit,
    inputs,
    objective,
    optim,
    preprocess,
    schedules,
    train,
    watchers,
)
from dqnlab.fit import Evaluate, Update
from dqnlab.objective import Criterion
from dqnlab.train import TrainState
from dqnlab.types import Array, Params, UserError

Sizes = tuple[tuple[int, ...], int]  # units of the hidden layers, outputs
FLOATS = [np.float64, np.float32]  # scikit-learn converts other numbers to float64
_ROWS = 256  # predictions are made in blocks of so many rows


class Recipe(NamedTuple):
    """How a perceptron is trained; equal recipes share their compiled programs."""

    loss: Criterion
    optimizer: str
    schedule: str
    learning_rate: float
    steps: int  # of the schedule
    weight_decay: float


class Learner(NamedTuple):
    """A recipe's functions."""

    optimizer: optax.GradientTransformation
    update: Update
    evaluate: Evaluate


@functools.lru_cache(maxsize=32)
def net(hidden: tuple[int, ...], num_outputs: int, dropout: float) -> hk.TransformedWithState:
    """Return a net of ReLU layers: (x [B, D], is_training) -> [B, num_outputs]."""

    def forward(x: Array, is_training: bool) -> Array:
        init = hk.initializers.VarianceScaling(2.0, "fan_in", "truncated_normal")
        for size in hidden:
            x = jax.nn.relu(hk.Linear(size, w_init=init)(x))
            if is_training and dropout:
                x = hk.dropout(hk.next_rng_key(), dropout, x)
        outputs: Array = hk.Linear(num_outputs)(x)
        return outputs

    return hk.transform_with_state(forward)


@functools.lru_cache(maxsize=32)
def learner(net: hk.TransformedWithState, recipe: Recipe) -> Learner:
    """Return optimizer, update and evaluation of a net."""
    rate = schedules.make(recipe.schedule, recipe.learning_rate, recipe.steps)
    optimizer = optim.make(recipe.optimizer, rate, weight_decay=recipe.weight_decay)
    loss = objective.supervised(net, recipe.loss)
    update = train.make_update(objective.for_training(loss), optimizer)
    return Learner(optimizer, update, objective.for_evaluation(loss))


@functools.lru_cache(maxsize=32)
def forward(net: hk.TransformedWithState) -> Any:
    """Return the compiled (params, x) -> outputs."""
    return jax.jit(lambda params, x: net.apply(params, {}, None, x, False)[0])


class Perceptron(BaseEstimator):  # type: ignore[misc]
    """What the two estimators share; a base class because scikit-learn's interface is one."""

    def __init__(
        self,
        hidden: Any = (128,),
        epochs: int = 100,
        batch_size: int = 32,
        learning_rate: float = 2e-3,
        schedule: str = "cosine",
        optimizer: str = "adam",
        weight_decay: float = 1e-2,
        dropout: float = 0.0,
        random_state: Any = 0,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        warm_start: bool = False,
        verbose: bool | int = False,
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
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.warm_start = warm_start
        self.verbose = verbose

    _optimizer: tuple[Recipe, Any] | None = None  # of the last call of partial_fit

    def _check(self, is_part: bool) -> None:
        # Before any work. A part of the data goes on with what earlier parts have taught.
        arguments.check_estimator(self.get_params(deep=False))
        check_random_state(self.random_state)
        if is_part and self.early_stopping:
            raise UserError("partial_fit does not support early_stopping=True")

    def _goes_on(self, is_part: bool) -> bool:
        return hasattr(self, "params_") and bool(is_part or self.warm_start)

    def _learn(
        self, data: dict[str, np.ndarray], num_outputs: int, loss: Criterion, is_part: bool
    ) -> None:
        sizes = (arguments.hidden_units(self.hidden), num_outputs)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        if self._goes_on(is_part):
            if sizes != self._sizes:
                raise UserError(
                    f"hidden is {sizes[0]} with {sizes[1]} outputs; the fitted net has "
                    f"{self._sizes[0]} with {self._sizes[1]}: fit with warm_start=False begins anew"
                )
            seed = (seed + self.n_iter_) % 2**31  # another order of the examples
        else:
            self.history_: list[dict[str, float]] = []
        held_back = None
        if self.early_stopping:
            data, held_back = self._hold_back(data, seed)
        batch_size = min(int(self.batch_size), len(data["x"]))
        epochs = 1 if is_part else int(self.epochs)
        recipe = self._recipe(loss, epochs * -(-len(data["x"]) // batch_size), is_part)
        made = learner(net(*sizes, float(self.dropout)), recipe)
        before = len(self.history_)
        fitted = fit.fit(
            self._start(made, recipe, sizes, data["x"][:2], seed, is_part),
            made.update,
            data,
            epochs=epochs,
            batch_size=batch_size,
            seed=seed,
            validation=held_back,
            evaluate=None if held_back is None else made.evaluate,
            patience=int(self.n_iter_no_change) if self.early_stopping else None,
            callbacks=[functools.partial(watchers.print_row, last=epochs)] if self.verbose else [],
        )
        rows = [{**row, "epoch": row["epoch"] + before} for row in fitted.history]
        self._keep(fitted.state, sizes, [*self.history_, *rows])
        self._optimizer = (recipe, jax.device_get(fitted.state.opt_state)) if is_part else None

    def _recipe(self, loss: Criterion, steps: int, is_part: bool) -> Recipe:
        schedule, steps = ("constant", 1) if is_part else (self.schedule, steps)
        rate, decay = float(self.learning_rate), float(self.weight_decay)
        return Recipe(loss, self.optimizer, schedule, rate, steps, decay)

    def _start(
        self, made: Learner, recipe: Recipe, sizes: Sizes, x: np.ndarray, seed: int, is_part: bool
    ) -> TrainState:
        if not self._goes_on(is_part):
            params, _ = net(*sizes, float(self.dropout)).init(jax.random.PRNGKey(seed), x, True)
            return train.init(params, {}, made.optimizer)
        state = train.init(self.params_, {}, made.optimizer)
        if is_part and self._optimizer is not None and self._optimizer[0] == recipe:
            state = state._replace(opt_state=self._optimizer[1])
        return state

    def _hold_back(self, data: dict[str, np.ndarray], seed: int) -> tuple[Any, Any]:
        size = len(data["x"])
        stratify = data["y"] if is_classifier(self) else None
        parts = train_test_split(
            np.arange(size),
            test_size=self.validation_fraction,
            random_state=seed,
            stratify=stratify,
        )
        return batches.take(data, parts[0]), batches.take(data, parts[1])

    def _keep(self, state: TrainState, sizes: Sizes, history: list[dict[str, float]]) -> None:
        self.params_: Params = jax.device_get(state.params)
        self.history_ = history
        self.n_iter_ = len(history)
        self.loss_curve_ = [row["loss"] for row in history]
        self.loss_ = self.loss_curve_[-1]
        self.n_outputs_ = sizes[1]
        self._sizes = sizes

    def _features(self, x: np.ndarray, weight: np.ndarray | None, is_part: bool) -> np.ndarray:
        if not self._goes_on(is_part):
            self._standardizer = preprocess.standardizer(x, weight)
        standardised: np.ndarray = self._standardizer(x)
        return standardised

    def _outputs(self, x: Any) -> np.ndarray:
        check_is_fitted(self, "params_")
        x = self._standardizer(validate_data(self, x, dtype=FLOATS, reset=False))
        apply = forward(net(*self._sizes, 0.0))
        # Blocks of one size: a row's result does not depend on how many come with it.
        blocks = [x[start : start + _ROWS] for start in range(0, len(x), _ROWS)]
        filled = [np.pad(block, ((0, _ROWS - len(block)), (0, 0))) for block in blocks]
        outputs = np.concatenate([np.asarray(apply(self.params_, block)) for block in filled])
        return outputs[: len(x)].astype(np.float64)


def used_weights(sample_weight: Any, x: np.ndarray) -> tuple[np.ndarray | None, Any]:
    """Return the weights of the examples that are used, mean 1, and which these are.

    An example with weight 0 is as good as absent.
    """
    if sample_weight is None:
        return None, slice(None)
    weight = _check_sample_weight(sample_weight, x, dtype=np.float64, ensure_non_negative=True)
    used = weight > 0
    return inputs.normalised(weight[used]), used
