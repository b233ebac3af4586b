"""The callbacks of `Model.fit` after each epoch: print a row, ask the caller's, stop early."""

import functools
from collections.abc import Callable, Iterable
from typing import Any

from dqnlab.progress import Progress

_NOT_SHOWN = {"epoch", "grad_norm", "error", "valid_error"}


def make(
    callbacks: Iterable[Callable[[Progress], Any]],
    done: int,
    last: int,
    patience: int | None,
    verbose: bool | int,
) -> list[Callable[[Progress], Any]]:
    """Return the callbacks of a fit: a printed row, the caller's, and early stopping.

    Args:
      callbacks: the caller's.
      done: epochs before this fit.
      last: the last epoch of this fit.
      patience: epochs without a lower validation loss, counted within this fit; or None.
      verbose: print a row after each epoch.
    """
    watchers = list(callbacks)
    if verbose:
        watchers.insert(0, functools.partial(print_row, last=last))
    if patience is not None:
        watchers.append(lambda now: now.epoch - 1 - max(now.best_epoch, done) >= patience)
    return watchers


def print_row(progress: Progress, last: int) -> None:
    """Print loss and metrics of the epoch that has ended."""
    row = progress.history[-1]
    # The loss first; a classifier's accuracy says what its error says.
    shown_first = sorted(row, key=lambda name: (name.startswith("valid_"), "loss" not in name))
    names = [name for name in shown_first if name not in _NOT_SHOWN]
    shown = "  ".join(f"{name} {row[name]:.4f}" for name in names)
    is_best = "valid_loss" in row and progress.best_epoch == row["epoch"]
    print(f"epoch {int(row['epoch']):>{len(str(last))}}/{last}  {shown}{'  best' * is_best}")
