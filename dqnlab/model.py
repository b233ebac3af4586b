"""A net with its loss and optimizer behind the methods that Keras users know.

model = Model(lambda x: hk.nets.MLP([128, 10])(x), "classification")
model.fit(images, labels, epochs=20, validation_split=0.1)
print(model.evaluate(test_images, test_labels))

It is the same `TrainState`, `make_update`, `fit` and checkpoint as everything else here.
"""

import functools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax

from dqnlab import (
    arguments,
    batches,
    examples,
    fit,
    forward,
    inputs,
    model_file,
    objective,
    optim,
    summary,
    train,
    watchers,
)
from dqnlab import progress as progresses
from dqnlab.objective import Criterion
from dqnlab.progress import Progress
from dqnlab.types import PyTree, UserError

_LEARNING_RATE = 1e-3


class Model:
    """A net that can be fitted, measured, used, saved and loaded.

    Args:
      net: a Haiku function of (x) or (x, is_training), or such a function already transformed.
        Other arguments keep their defaults.
      loss: a name from `dqnlab.objective.CRITERIA`, or a criterion (outputs, batch) -> (scalar,
        metrics); batches are {"x": ..., "y": ...}.
      optimizer: a name from `dqnlab.optim`, or an optax transformation.
      learning_rate: a number or a schedule, for an optimizer given by name; default 0.001.
      l1, l2: penalties on the weights.
      seed: of the first weights, the order of the examples, and noise.
    """

    def __init__(
        self,
        net: Callable[..., Any] | hk.TransformedWithState,
        loss: str | Criterion = "classification",
        optimizer: str | optax.GradientTransformation = "adam",
        *,
        learning_rate: float | optax.Schedule | None = None,
        l1: float = 0.0,
        l2: float = 0.0,
        seed: int = 0,
    ):
        arguments.check(loss, optimizer, learning_rate, l1, l2, seed)
        self.net = forward.transform(net)
        self.seed = int(seed)
        self.progress: Progress | None = None
        self._made_with = {"loss": _name(loss), "optimizer": _name(optimizer), "seed": self.seed}
        self._criterion = objective.CRITERIA[loss] if isinstance(loss, str) else loss
        self._x: PyTree = None  # jax.ShapeDtypeStruct of one example, as the net takes it
        self._cannot_go_on = ""  # why a model that was loaded cannot be fitted
        casting = hk.TransformedWithState(
            lambda key, x, is_training: self.net.init(key, self._cast(x), is_training),
            lambda p, s, key, x, is_training: self.net.apply(p, s, key, self._cast(x), is_training),
        )
        self.loss = objective.supervised(casting, objective.with_accuracy(self._criterion))
        self.optimizer = (
            optim.make(optimizer, learning_rate or _LEARNING_RATE)
            if isinstance(optimizer, str)
            else optimizer
        )
        self._update = train.make_update(objective.for_training(self.loss, l1, l2), self.optimizer)
        # Compiled once, however often they are called.
        self._apply = jax.jit(
            lambda best, x: casting.apply(*best, jax.random.PRNGKey(0), x, False)[0]
        )
        self._evaluate = objective.for_evaluation(self.loss)
        self._measure = jax.jit(self._evaluate)

    def __repr__(self) -> str:
        made = f"{self._made_with['loss']}, {self._made_with['optimizer']}"
        if self.progress is None:
            return f"Model({made}, not fitted)"
        size = sum(leaf.size for leaf in jax.tree.leaves(self.progress.best.params))
        epochs = len(self.progress.history)
        return f"Model({made}, {size:,} parameters, {epochs} epoch{'s' * (epochs != 1)})"

    @property
    def history(self) -> list[dict[str, float]]:
        """One row per epoch: epoch, loss, accuracy, valid_loss and others; [] before fitting."""
        return [] if self.progress is None else list(self.progress.history)

    def summary(self, x: PyTree) -> str:
        """Layers, output shapes and parameters for a batch like `x`, as a table."""
        if not all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(x)):
            x = inputs.arrays(x, "the data['x']")
        one = forward.inputs(self.net, x)
        batch = jax.tree.map(lambda a, s: jax.ShapeDtypeStruct(a.shape, s.dtype), x, one)
        _, state = jax.eval_shape(lambda x: self.net.init(jax.random.PRNGKey(0), x, True), batch)
        num_state = sum(leaf.size for leaf in jax.tree.leaves(state))
        return summary.text(summary.layers(self.net, batch), num_state)

    def fit(
        self,
        x: PyTree,
        y: Any,
        *,
        sample_weight: Any = None,
        class_weight: Any = None,
        epochs: int = 10,
        batch_size: int = 32,
        validation_split: float = 0.0,
        validation_data: tuple[Any, ...] | None = None,
        patience: int | None = None,
        callbacks: Iterable[Callable[[Progress], Any]] = (),
        verbose: bool | int = True,
    ) -> list[dict[str, float]]:
        """Train for so many more epochs; returns the history of all.

        Twice five epochs on the same data give what ten give, bit for bit, under a constant
        learning rate. With validation data the weights of the best epoch are used to predict.

        Args:
          x: inputs: one array [N, ...], or a dict or tuple of arrays.
          y: labels or targets; for "classification" also [N, 1] and one-hot.
          sample_weight: [N], or one weight per label [N, T]; 0 or False leaves a padded step out.
          class_weight: {label: weight}, or "balanced".
          epochs: how many more.
          batch_size: at most the number of examples is used.
          validation_split: share of the examples held back, drawn by the seed.
          validation_data: (x, y) or (x, y, sample_weight), instead of `validation_split`.
          patience: stop after so many epochs without a lower validation loss.
          callbacks: called with the progress after each epoch; a true answer stops.
          verbose: print a row after each epoch.

        Raises UserError for values and shapes that do not fit.
        """
        if self._cannot_go_on:
            raise UserError(self._cannot_go_on)
        arguments.check_fit(
            epochs, batch_size, validation_split, validation_data, patience, callbacks
        )
        data = self._data(x, y, sample_weight, class_weight, "the training data")
        inputs.warn_of_rounding(x, "the training data['x']")
        held_back = None
        if validation_data is not None:
            weight = validation_data[2] if len(validation_data) == 3 else None
            x_held, y_held = validation_data[:2]
            held_back = self._data(x_held, y_held, weight, None, "the validation data")
            one = forward.inputs(self.net, data["x"])
            forward.check_same(held_back["x"], one, "the validation data")
        elif validation_split:
            data, held_back = examples.split(data, float(validation_split), self.seed)
        start = self.progress if self.progress is not None else self._begin(data["x"])
        done = len(start.history)
        fitted = fit.fit(
            start,
            self._update,
            examples.weighted(data, is_training=True),
            epochs=done + int(epochs),
            batch_size=min(int(batch_size), batches.num_examples(data)),
            seed=self.seed,
            validation=None
            if held_back is None
            else examples.weighted(held_back, is_training=False),
            evaluate=None if held_back is None else self._evaluate,
            callbacks=watchers.make(callbacks, done, done + int(epochs), patience, verbose),
        )
        self.progress = fitted.progress
        return fitted.history

    def evaluate(
        self, x: PyTree, y: Any, batch_size: int = 256, *, sample_weight: Any = None
    ) -> dict[str, float]:
        """Mean loss and metrics, without penalties and dropout."""
        progress = self._fitted()
        arguments.check_integer("batch_size", batch_size)
        data = self._data(x, y, sample_weight, None, "the data")
        state = progress.train._replace(**progress.best._asdict())
        key = jax.random.PRNGKey(self.seed)
        return batches.mean_metrics(
            functools.partial(self._measure, state),
            key,
            examples.weighted(data, is_training=False),
            int(batch_size),
        )

    def predict(self, x: PyTree, batch_size: int = 256) -> Any:
        """Return the net's outputs as NumPy arrays: logits, not probabilities, of a classifier."""
        best = self._fitted().best
        arguments.check_integer("batch_size", batch_size)
        x = self._inputs(x, "the data")
        return batches.map_batches(lambda batch: self._apply(best, batch), x, int(batch_size))

    def predict_proba(self, x: PyTree, batch_size: int = 256) -> np.ndarray:
        """Return probabilities: [N, ..., K] by softmax; of "binary_crossentropy" by sigmoid."""
        logits = self._logits(x, batch_size)
        if self._criterion is objective.binary:
            return np.asarray(jax.nn.sigmoid(logits))
        return np.asarray(jax.nn.softmax(logits, axis=-1))

    def predict_classes(self, x: PyTree, batch_size: int = 256) -> np.ndarray:
        """Return the most probable labels, int[N, ...]; [N] also of one binary output [N, 1]."""
        logits = self._logits(x, batch_size)
        if self._criterion is not objective.binary:
            return np.asarray(logits.argmax(axis=-1))
        labels = np.asarray(logits > 0, np.int64)
        return labels[..., 0] if labels.ndim > 1 and labels.shape[-1] == 1 else labels

    def save(self, path: str | Path) -> None:
        """Write weights, optimizer and history into a folder, as a checkpoint."""
        progress = self._fitted()
        if self._cannot_go_on:
            raise UserError(f"there is nothing new to save: {self._cannot_go_on}")
        model_file.write(path, progress, self._made_with)

    def load(self, path: str | Path, x: PyTree) -> "Model":
        """Take up what a model of the same net has saved; returns itself.

        With another seed or optimizer it predicts and evaluates, but `fit` refuses.

        Args:
          path: the folder.
          x: a batch of inputs (their shape counts), as code is never part of what is saved.

        Raises CheckpointError where the folder is missing, damaged, or of another net.
        """
        x = inputs.arrays(x, "the data['x']")
        like = jax.eval_shape(lambda: progresses.split(self._begin(x))[0])
        self.progress, self._cannot_go_on = model_file.read(path, like, self._made_with)
        return self

    def _begin(self, x: PyTree) -> Progress:
        self._x = forward.inputs(self.net, x)
        key = jax.random.fold_in(jax.random.PRNGKey(self.seed), fit.INIT)
        first = jax.tree.map(lambda a: jnp.zeros((2, *a.shape), a.dtype), self._x)
        params, state = jax.jit(lambda key, x: self.net.init(key, x, True))(key, first)
        return progresses.begin(train.init(params, state, self.optimizer))

    def _cast(self, x: PyTree) -> PyTree:
        return jax.tree.map(lambda a, s: jnp.asarray(a, s.dtype), x, self._x)

    def _inputs(self, x: PyTree, name: str) -> PyTree:
        x = inputs.arrays(x, f"{name}['x']")
        batches.num_examples(x)
        batches.check_finite({"x": x}, name)
        if self.progress is not None:
            forward.check_same(x, self._x, name)
        return x

    def _data(
        self, x: PyTree, y: Any, sample_weight: Any, class_weight: Any, name: str
    ) -> examples.Examples:
        x = self._inputs(x, name)
        one = forward.inputs(self.net, x) if self.progress is None else self._x
        outputs = forward.outputs(self.net, one)
        return examples.make(self._criterion, outputs, x, y, sample_weight, class_weight, name)

    def _logits(self, x: PyTree, batch_size: int) -> Any:
        if self._criterion not in (objective.classification, objective.binary):
            raise UserError(
                f"loss {self._made_with['loss']!r} has no classes; predict gives its outputs"
            )
        return self.predict(x, batch_size)

    def _fitted(self) -> Progress:
        if self.progress is None:
            raise UserError("the model is not fitted: call fit or load first")
        return self.progress


def _name(given: Any) -> str:
    return given if isinstance(given, str) else getattr(given, "__name__", "optax")
