"""A net with its loss and optimizer behind the methods that Keras users know.

model = Model(lambda x: hk.nets.MLP([128, 10])(x), "classification")
model.fit(images, labels, epochs=20, validation_split=0.1)
print(model.evaluate(test_images, test_labels))

It is the same `TrainState`, `make_update`, `fit` and checkpoint as everything else here.
"""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax

from dqnlab import batches, checkpoint, fit, objective, optim, preprocess, summary, train
from dqnlab import progress as progresses
from dqnlab.checkpoint import CheckpointError
from dqnlab.objective import Criterion
from dqnlab.progress import Progress
from dqnlab.types import PyTree, UserError

_KIND = "model"


class Model:
    """A net that can be fitted, measured, used, saved and loaded.

    Args:
      net: a Haiku function of (x) or (x, is_training), or such a one already transformed.
      loss: a name out of `dqnlab.objective.CRITERIA`, or a criterion (outputs, batch) -> (scalar,
        metrics); batches are {"x": ..., "y": ...}.
      optimizer: a name out of `dqnlab.optim`, or an optax transformation.
      learning_rate: of an optimizer given by name; a number or a schedule.
      l1, l2: penalties on the weights.
      seed: of the first weights, the order of the examples, and noise.
    """

    def __init__(
        self,
        net: Callable[..., Any] | hk.TransformedWithState,
        loss: str | Criterion = "classification",
        optimizer: str | optax.GradientTransformation = "adam",
        *,
        learning_rate: float | optax.Schedule = 1e-3,
        l1: float = 0.0,
        l2: float = 0.0,
        seed: int = 0,
    ):
        self.net = net if isinstance(net, hk.TransformedWithState) else _transform(net)
        if isinstance(loss, str) and loss not in objective.CRITERIA:
            raise UserError(f"loss {loss!r} is unknown; allowed: {', '.join(objective.CRITERIA)}")
        criterion = objective.CRITERIA[loss] if isinstance(loss, str) else loss
        self._is_classifier = criterion is objective.classification
        self._is_known = isinstance(loss, str)
        self.loss = objective.supervised(self.net, criterion)
        self.optimizer = (
            optim.make(optimizer, learning_rate) if isinstance(optimizer, str) else optimizer
        )
        self.seed = seed
        self.progress: Progress | None = None
        self._x: PyTree = None  # jax.ShapeDtypeStruct of one example
        self._update = train.make_update(objective.for_training(self.loss, l1, l2), self.optimizer)
        # Compiled once, however often they are called.
        self._apply = jax.jit(
            lambda best, x: self.net.apply(*best, jax.random.PRNGKey(0), x, False)[0]
        )
        self._evaluate = objective.for_evaluation(self.loss)
        self._measure = jax.jit(self._evaluate)

    def summary(self, x: PyTree) -> str:
        """Layers, output shapes and parameters for a batch like `x`, as a table."""
        _, state = jax.eval_shape(lambda x: self.net.init(jax.random.PRNGKey(0), x, True), x)
        num_state = sum(leaf.size for leaf in jax.tree.leaves(state))
        return summary.text(summary.layers(self.net, x), num_state)

    def fit(
        self,
        x: PyTree,
        y: Any,
        *,
        epochs: int = 10,
        batch_size: int = 32,
        validation_split: float = 0.0,
        validation_data: tuple[PyTree, Any] | None = None,
        patience: int | None = None,
        callbacks: Any = (),
    ) -> list[dict[str, float]]:
        """Train for so many more epochs; returns the history of all.

        Twice five epochs on the same data give what ten give, bit for bit, under a constant
        learning rate. `validation_split` holds back a share, drawn by the seed. With validation
        data the weights of the best epoch are the ones that `predict` uses.

        Raises UserError for values and shapes that do not fit.
        """
        data = {"x": x, "y": np.asarray(y)}
        self._check(data, "the training data")
        held_back = None
        if validation_data is not None:
            held_back = {"x": validation_data[0], "y": np.asarray(validation_data[1])}
            self._check(held_back, "the validation data")
        elif validation_split:
            data, held_back = _split(data, validation_split, self.seed)
        start = self.progress if self.progress is not None else self._begin(data["x"])
        fitted = fit.fit(
            start,
            self._update,
            data,
            epochs=epochs + len(start.history) if epochs > 0 else epochs,
            batch_size=min(batch_size, batches.num_examples(data)),
            seed=self.seed,
            validation=held_back,
            evaluate=None if held_back is None else self._evaluate,
            patience=patience,
            callbacks=callbacks,
        )
        self.progress = fitted.progress
        return fitted.history

    def evaluate(self, x: PyTree, y: Any, batch_size: int = 256) -> dict[str, float]:
        """Mean loss and metrics, without penalties and dropout."""
        data = {"x": x, "y": np.asarray(y)}
        self._check(data, "the data")
        progress = self._fitted()
        state = progress.train._replace(**progress.best._asdict())
        key = jax.random.PRNGKey(self.seed)
        return batches.mean_metrics(
            lambda key, batch: self._measure(state, key, batch), key, data, batch_size
        )

    def predict(self, x: PyTree, batch_size: int = 256) -> Any:
        """The net's outputs for any number of examples, as NumPy arrays."""
        best = self._fitted().best
        self._check({"x": x}, "the data")
        return batches.map_batches(lambda batch: self._apply(best, batch), x, batch_size)

    def save(self, path: str | Path) -> None:
        """Write weights, optimizer and history into a folder, as a checkpoint."""
        arrays, rest = progresses.split(self._fitted())
        meta = {"progress": rest, "seed": self.seed}
        steps = int(arrays["train"].step)
        checkpoint.save(path, steps, jax.device_get(arrays), meta, keep=1, kind=_KIND)

    def load(self, path: str | Path, x: PyTree) -> "Model":
        """Take up what a model of the same net, loss and optimizer has saved; returns itself.

        Args:
          path: the folder.
          x: a batch of inputs (their shape counts), as code is never part of what is saved.

        Raises CheckpointError where it is absent, damaged, or of another net.
        """
        found, _ = checkpoint.latest(path)
        self._x = _spec(x)
        like = jax.eval_shape(lambda: progresses.split(self._begin(x))[0])
        arrays = checkpoint.load_state(found, like, kind=_KIND)
        if found.meta["seed"] != self.seed:
            raise CheckpointError(f"{path} has the seed {found.meta['seed']}, not {self.seed}")
        self.progress = progresses.join(arrays, found.meta["progress"])
        return self

    def _begin(self, x: PyTree) -> Progress:
        self._x = _spec(x)
        key = jax.random.fold_in(jax.random.PRNGKey(self.seed), fit.INIT)
        first = jax.tree.map(lambda a: jnp.zeros((2, *a.shape), a.dtype), self._x)
        params, state = jax.jit(lambda key, x: self.net.init(key, x, True))(key, first)
        return progresses.begin(train.init(params, state, self.optimizer))

    def _check(self, data: dict[str, Any], name: str) -> None:
        batches.num_examples(data)
        batches.check_finite(data, name)
        x, y = _spec(data["x"]), data.get("y")
        if self._x is not None and x != self._x:
            raise UserError(f"{name}: inputs are {x}; the net has learnt from {self._x}")
        if y is None:
            return
        batch = jax.tree.map(lambda s: jax.ShapeDtypeStruct((2, *s.shape), s.dtype), x)
        outputs = jax.eval_shape(lambda x: _outputs(self.net, x), batch)
        if not isinstance(outputs, jax.ShapeDtypeStruct):
            return  # a criterion of the user's own
        if self._is_classifier:
            preprocess.check_labels(y, outputs.shape[-1], f"{name}: labels")
        elif self._is_known and np.prod(y.shape[1:]) != np.prod(outputs.shape[1:]):
            raise UserError(
                f"{name}: targets are {list(y.shape)}; the net's outputs are "
                f"[{len(y)}, {', '.join(map(str, outputs.shape[1:]))}]"
            )

    def _fitted(self) -> Progress:
        if self.progress is None:
            raise UserError("the model is not fitted: call fit or load first")
        return self.progress


def _transform(net: Callable[..., Any]) -> hk.TransformedWithState:
    parameters = inspect.signature(net).parameters
    if len(parameters) == 1:
        return hk.transform_with_state(lambda x, is_training: net(x))
    if len(parameters) != 2:
        raise UserError(f"the net takes {list(parameters)}; it must be (x) or (x, is_training)")
    return hk.transform_with_state(net)


def _outputs(net: hk.TransformedWithState, x: PyTree) -> Any:
    key = jax.random.PRNGKey(0)
    return net.apply(*net.init(key, x, True), key, x, False)[0]


def _spec(x: PyTree) -> PyTree:
    def spec(a: Any) -> jax.ShapeDtypeStruct:  # float64 counts as float32, as in jax.jit
        dtype = jax.dtypes.canonicalize_dtype(np.asarray(a).dtype)
        return jax.ShapeDtypeStruct(np.shape(a)[1:], dtype)

    return jax.tree.map(spec, x)


def _split(data: PyTree, share: float, seed: int) -> tuple[PyTree, PyTree]:
    size = batches.num_examples(data)
    held_back = round(share * size)
    if not 0 < held_back < size:
        raise UserError(f"validation_split is {share}: {held_back} of {size} examples")
    order = np.random.default_rng((seed, 0)).permutation(size)
    return batches.take(data, order[held_back:]), batches.take(data, order[:held_back])
