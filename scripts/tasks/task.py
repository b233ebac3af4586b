"""What a supervised task is: data, net, loss, figures and config, in one record.

A task is a file `scripts/tasks/NAME.py` with `TASK = Task(...)` and one row in
`scripts/tasks/table.py`. `scripts/train_supervised.py` does the rest: options (each field of the
config is a flag, its docstring the help), `fit`, run folder, checkpoints, resume, progress, curves.

* Config: a frozen dataclass that inherits `Config`, redefines defaults, adds its own fields
  (numbers, strings, bools, `Path | None`, tuples). `data: Path | None = None` becomes `--data`.
* `load(config, seed) -> Splits`. `train`, `validation` and `test` are dicts of NumPy arrays that
  share their leading axis; `"x"` is the net's input (an array, or a dict of arrays), the other keys
  (`"y"`, `"mask"`, ...) are the loss's own. `info` is JSON: all that the net needs to know of the
  data (classes, vocabulary); it is saved, so that a trained net loads without the data.
* `make(config, info) -> (net, loss)`. `net` is `hk.transform_with_state(f)`, f(x, is_training).
  `loss(params, net_state, key, batch, is_training) -> (scalar, LossAux)`, a mean over the batch;
  `dqnlab.objective.supervised(net, criterion, augment)` makes most. Metrics are means over
  examples.
* `report(trained, splits, folder) -> figures`: JSON numbers of the test part, the first of them the
  stated one; pictures go into `folder` as PNG. `trained.predict(x)` runs the net in batches.
* `start(config, splits, seed, params) -> params`, optional: parameters from a pretraining.
* `sample(trained, args) -> text`, optional: what `--sample RUN` prints, e.g. generated text;
  `args` is an instance of the task's `sample_args` dataclass, whose fields are flags.

A mistake in the data is a `dqnlab.types.UserError`.
"""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import haiku as hk
import jax

from dqnlab import batches
from dqnlab.objective import Loss
from dqnlab.types import Array, Params, PyTree


@dataclasses.dataclass(frozen=True)
class Config:
    """How a task is trained; each task redefines what it needs."""

    epochs: int = 50
    """Passes over the training part."""
    batch_size: int = 32
    """Examples in a minibatch."""
    learning_rate: float = 1e-3
    """Step size at the start of the schedule, or after its warm-up."""
    optimizer: str = "adam"
    """See dqnlab/optim.py: adam, sgd, velocity, nesterov, rmsprop, adagrad ..."""
    schedule: str = "constant"
    """Of the step size: constant, cosine, warmup_cosine ... (dqnlab/schedules.py)."""
    weight_decay: float = 0.0
    """Decoupled from the gradient (AdamW), on weights and not on biases; per unit of step size."""
    l1: float = 0.0
    """Factor of the sum of the weights' absolute values in the loss."""
    l2: float = 0.0
    """Factor of half the sum of the weights' squares in the loss."""
    max_grad_norm: float | None = None
    """The gradient is scaled down to this norm where it is longer."""
    patience: int | None = None
    """Stop after so many epochs without a lower validation loss; the best weights are kept."""
    batches_per_launch: int = 32
    """Minibatches in one compiled loop; 1 for big convolutions on CPU."""


class Splits(NamedTuple):
    """A data set in three parts, and what the net must know of it."""

    train: dict[str, Any]
    validation: dict[str, Any] | None  # None: no early stopping, the last weights are kept
    test: dict[str, Any]
    info: dict[str, Any]


class Trained(NamedTuple):
    """A trained net with everything needed to use it; `scripts/tasks/saved.py` loads one."""

    task: str
    config: Any  # of the task's own class
    info: dict[str, Any]
    seed: int
    net: hk.TransformedWithState  # apply(params, net_state, key, x, is_training) -> (outputs, ...)
    loss: Loss
    params: Params
    net_state: PyTree
    x: PyTree  # jax.ShapeDtypeStruct of one example's input, without the batch's axis

    def apply(self, x: PyTree, key: Array | None = None) -> PyTree:
        """Outputs for a batch, as in evaluation; pure, for jit and grad."""
        return self.net.apply(self.params, self.net_state, key, x, False)[0]

    def predict(self, x: PyTree, batch_size: int = 256) -> PyTree:
        """NumPy outputs for any number of examples, in batches of one compiled function."""
        return batches.map_batches(_forward(self.net, self.params, self.net_state), x, batch_size)


def _forward(net: hk.TransformedWithState, params: Params, net_state: PyTree) -> Any:
    apply = _jitted(net)
    return lambda x: apply(params, net_state, jax.random.PRNGKey(0), x)


@functools.cache
def _jitted(net: hk.TransformedWithState) -> Any:
    return jax.jit(lambda *args: net.apply(*args, False)[0])


class Task(NamedTuple):
    """See the top of this file."""

    about: str  # one line: what is learnt from what
    goal: str  # the stated figure, e.g. "<= 2.6 % error, mean of five splits"
    minutes: float  # that a run with the defaults takes on 2 cores
    defaults: Any  # an instance of the task's Config
    load: Callable[[Any, int], Splits]
    make: Callable[[Any, dict[str, Any]], tuple[hk.TransformedWithState, Loss]]
    report: Callable[[Trained, Splits, Path], dict[str, Any]]
    start: Callable[[Any, Splits, int, Params], Params] | None = None
    sample: Callable[[Trained, Any], str] | None = None
    sample_args: type | None = None
