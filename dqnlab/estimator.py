"""Multi-layer perceptrons as scikit-learn estimators: for pipelines, grids, cross-validation."""

from typing import Any, Self

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from dqnlab import inputs, objective, perceptron, preprocess
from dqnlab.perceptron import Perceptron
from dqnlab.types import UserError


class Classifier(ClassifierMixin, Perceptron):  # type: ignore[misc]
    """An MLP classifier with softmax outputs; features are standardised on the training data.

    Args:
      hidden: units of each hidden layer (ReLU): a tuple, or a number for one layer.
      epochs, batch_size, learning_rate, schedule, optimizer, weight_decay: as in train_supervised.
      dropout: share of hidden units dropped in training.
      random_state: seed, `numpy.random.RandomState`, or None.
      early_stopping: hold `validation_fraction` of the examples back, stop after
        `n_iter_no_change` epochs without a lower loss on them, and keep the best weights.
      validation_fraction, n_iter_no_change: see early_stopping.
      warm_start: `fit` goes on from the weights of the last `fit`.
      verbose: print a row after each epoch.
      class_weight: {label: weight}, "balanced" or None.
    """

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
        class_weight: Any = None,
    ):
        super().__init__(
            hidden,
            epochs,
            batch_size,
            learning_rate,
            schedule,
            optimizer,
            weight_decay,
            dropout,
            random_state,
            early_stopping,
            validation_fraction,
            n_iter_no_change,
            warm_start,
            verbose,
        )
        self.class_weight = class_weight

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Learn from X [N, D] and y [N], labels of any type; ValueError for anything else."""
        return self._fit(X, y, sample_weight, None, is_part=False)

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> Self:
        """Learn one epoch from a part of the data, with a constant learning rate.

        The first call needs all `classes`, and its examples give the numbers that standardise.
        """
        return self._fit(X, y, sample_weight, classes, is_part=True)

    def _fit(self, X: Any, y: Any, sample_weight: Any, classes: Any, is_part: bool) -> Self:
        self._check(is_part)
        goes_on = self._goes_on(is_part)
        x, y = validate_data(self, X, y, dtype=perceptron.FLOATS, reset=not goes_on)
        check_classification_targets(y)
        classes = self._classes(y, classes, is_part, goes_on)
        labels = np.searchsorted(classes, y).astype(np.int32)
        weight, used = perceptron.used_weights(sample_weight, x)
        if self.class_weight is not None:
            by_class = compute_sample_weight(self.class_weight, y[used])
            weight = inputs.normalised(by_class if weight is None else by_class * weight)
        data = {"x": self._features(x[used], weight, is_part), "y": labels[used]}
        if weight is not None:
            data["weight"] = weight
        self._learn(data, len(classes), objective.classification, is_part)
        self.classes_ = classes
        return self

    def _classes(self, y: np.ndarray, given: Any, is_part: bool, goes_on: bool) -> np.ndarray:
        if is_part and not goes_on and given is None:
            raise UserError("classes must be passed on the first call to partial_fit")
        found = np.unique(y)
        if given is None and not goes_on:
            return found
        classes: np.ndarray = self.classes_ if goes_on else np.unique(given)
        if goes_on and given is not None and not np.array_equal(np.unique(given), classes):
            raise UserError(f"classes are {given}; the earlier ones are {classes}")
        if len(unknown := np.setdiff1d(found, classes)):
            raise UserError(f"y has the class {unknown[0]!r}, which is not in classes {classes}")
        if goes_on and not is_part and not np.array_equal(found, classes):
            raise UserError(f"with warm_start y must have the same classes {classes}, not {found}")
        return classes

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """[N, D] -> logarithms of probabilities [N, classes]."""
        logits = self._outputs(X)
        shifted = logits - logits.max(axis=1, keepdims=True)
        return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))

    def predict_proba(self, X: Any) -> np.ndarray:
        """[N, D] -> probabilities [N, classes]."""
        probabilities = np.exp(self.predict_log_proba(X))
        return np.asarray(probabilities)

    def predict(self, X: Any) -> np.ndarray:
        """[N, D] -> labels [N]."""
        outputs = self._outputs(X)
        return np.asarray(self.classes_[np.argmax(outputs, axis=1)])


class Regressor(RegressorMixin, Perceptron):  # type: ignore[misc]
    """An MLP regressor for one or more targets; features and targets are standardised.

    Args: those of `Classifier`, but for class_weight.
    """

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Learn from X [N, D] and y [N] or [N, K]; ValueError for anything else."""
        return self._fit(X, y, sample_weight, is_part=False)

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Learn one epoch from a part of the data, with a constant learning rate.

        The first call's examples give the numbers that standardise features and targets.
        """
        return self._fit(X, y, sample_weight, is_part=True)

    def _fit(self, X: Any, y: Any, sample_weight: Any, is_part: bool) -> Self:
        self._check(is_part)
        goes_on = self._goes_on(is_part)
        x, y = validate_data(
            self,
            X,
            y,
            dtype=perceptron.FLOATS,
            multi_output=True,
            y_numeric=True,
            reset=not goes_on,
        )
        weight, used = perceptron.used_weights(sample_weight, x)
        targets = y.reshape(len(y), -1)[used]
        if not goes_on:
            self._targets = preprocess.standardizer(targets, weight, "targets")
            self._is_flat = y.ndim == 1
        elif targets.shape[1] != self.n_outputs_:
            raise UserError(f"y has {targets.shape[1]} targets; the earlier had {self.n_outputs_}")
        data = {"x": self._features(x[used], weight, is_part), "y": self._targets(targets)}
        if weight is not None:
            data["weight"] = weight
        self._learn(data, targets.shape[1], objective.regression, is_part)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """[N, D] -> [N], or [N, K] if the targets were [N, K]."""
        outputs = self._outputs(X)
        y = self._targets.undo(outputs)
        return np.asarray(y[:, 0] if self._is_flat else y)
