"""A supervised run: task, net and folder; training with checkpoints; the figures at the end."""

import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dqnlab import (
    batches,
    checkpoint,
    fit,
    history,
    objective,
    optim,
    run_folder,
    schedules,
    train,
    weights,
)
from dqnlab import progress as progresses
from dqnlab.metrics import MetricsWriter
from dqnlab.progress import Progress
from dqnlab.types import Params
from scripts.console import LiveLine, clock
from scripts.console import fit as fit_line
from scripts.eta import Eta
from scripts.interrupts import Interrupts
from scripts.supervised_options import Options
from scripts.tasks import checks, saved, table
from scripts.tasks.task import Trained

STEP = "epoch"  # what rows of metrics.jsonl count in


class Run:
    """A run in progress: data, net, optimizer, how far it is, the folder."""

    dir: Path

    def __init__(self, name: str, options: Options[Any]):
        self.name, self.options = name, options
        self.task = table.find(name)
        self.config = options.config
        self.splits = self.task.load(self.config, options.seed)
        checks.check(self.splits, self.config)
        self.net, self.loss = self.task.make(self.config, self.splits.info)
        self.size = batches.num_examples(self.splits.train)
        steps = self.config.epochs * -(-self.size // self.config.batch_size)
        schedule = schedules.make(self.config.schedule, self.config.learning_rate, steps)
        self.optimizer = optim.make(
            self.config.optimizer,
            schedule,
            max_grad_norm=self.config.max_grad_norm,
            weight_decay=self.config.weight_decay,
        )
        penalised = objective.for_training(self.loss, self.config.l1, self.config.l2)
        self.update = train.make_update(penalised, self.optimizer)
        self.seconds = 0.0
        self.problems: list[str] = []

    def start(self, run_dir: Path) -> None:
        """Make the first state, and a checkpoint of it: a run can be resumed from the start on."""
        self.dir = run_dir
        x = jax.tree.map(lambda a: a[0], self.splits.train["x"])
        kept = {"checkpoint_seconds": self.options.checkpoint_seconds}
        seed, data = self.options.seed, saved.fingerprint(self.splits)
        saved.write(self.dir, self.name, self.config, seed, self.splits.info, x, kept, data)
        self.progress = self._begin()
        if self.task.start is not None:
            state = self.progress.train
            params = self.task.start(self.config, self.splits, seed, state.params)
            state = train.init(params, state.net_state, self.optimizer)
            self.progress = progresses.begin(state)
        self.save()

    def resume(self, run_dir: Path) -> None:
        """Take up the newest intact checkpoint."""
        self.dir = run_dir
        saved.check_data(self.dir, self.splits)
        found, self.problems = checkpoint.latest(self.dir / "checkpoints")
        like = jax.eval_shape(lambda: progresses.split(self._begin())[0])
        arrays = checkpoint.load_state(found, like, kind=saved.KIND)
        self.progress = progresses.join(arrays, found.meta["progress"])
        self.seconds = found.meta["seconds"]

    def _begin(self) -> Progress:
        key = jax.random.fold_in(jax.random.PRNGKey(self.options.seed), fit.INIT)
        x = batches.take(self.splits.train["x"], np.arange(min(2, self.size)))
        params, net_state = jax.jit(lambda key, x: self.net.init(key, x, True))(key, x)
        return progresses.begin(train.init(params, net_state, self.optimizer))

    def save(self) -> None:
        """Write the weights, best and last, and a checkpoint."""
        arrays, rest = progresses.split(self.progress)
        folder = self.dir / "weights"
        folder.mkdir(exist_ok=True)
        params, net_state, *_ = self.progress.train
        meta = {STEP: str(self.progress.epoch)}
        weights.save_net(folder / "last.safetensors", params, net_state, meta)
        params, net_state = self.best
        weights.save_net(folder / "best.safetensors", params, net_state, meta)
        content = {"progress": rest, "seconds": self.seconds}
        steps = int(self.progress.train.step)
        root = self.dir / "checkpoints"
        checkpoint.save(root, steps, jax.device_get(arrays), content, kind=saved.KIND)

    @property
    def best(self) -> tuple[Params, Any]:
        """Parameters and net state of the best epoch so far; before the first, those at hand."""
        progress = self.progress
        return progress.best if progress.best_epoch else progress.train[:2]

    def trained(self) -> Trained:
        """The best net so far, ready to use."""
        x = jax.tree.map(
            lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), self.splits.train["x"]
        )
        params, net_state = jax.tree.map(jnp.array, self.best)
        config, info, seed = self.config, self.splits.info, self.options.seed
        return Trained(self.name, config, info, seed, self.net, self.loss, params, net_state, x)


def learn(run: Run, interrupts: Interrupts, line: LiveLine, writer: MetricsWriter) -> None:
    """Fit until the last epoch, early stopping or a signal; checkpoints on the way."""
    started, base = time.monotonic(), run.seconds
    saved_at = shown_at = started
    per_epoch = -(-run.size // run.config.batch_size)
    # The first launch compiles; the first point is after it.
    eta = Eta(run.config.epochs * per_epoch, steady_from=0)
    line.wait("compiling ...")

    def text(progress: Progress) -> str:
        left = eta.left()
        share = f"{progress.batch / per_epoch:4.0%}  " if progress.batch else ""
        time_left = f"{share}ETA {'-' if left is None else clock(left)}"
        return fit_line(_row_parts(progress, run.config.epochs, time_left), line.width)

    def on_launch(progress: Progress) -> bool:
        nonlocal saved_at, shown_at
        run.progress, now = progress, time.monotonic()
        run.seconds = base + now - started
        if now - shown_at > 0.5 or line.is_waiting:
            shown_at = now
            eta.add((progress.epoch - 1) * per_epoch + progress.batch, now)
            line.show(text(progress), is_row=False)
        if now - saved_at > run.options.checkpoint_seconds and progress.batch < per_epoch:
            run.save()
            saved_at = time.monotonic()
        return interrupts.is_set()

    def on_epoch(progress: Progress) -> bool:
        run.progress = progress
        run.seconds = base + time.monotonic() - started
        row = progress.history[-1]
        seconds = {"seconds": round(run.seconds, 2)}
        writer.write({**row, STEP: int(row[STEP]), **seconds})
        is_last = len(progress.history) == run.config.epochs
        line.show(text(progress), is_kept=is_last)
        return interrupts.is_set()

    has_validation = run.splits.validation is not None
    fit.fit(
        run.progress,
        run.update,
        run.splits.train,
        epochs=run.config.epochs,
        batch_size=run.config.batch_size,
        seed=run.options.seed,
        validation=run.splits.validation,
        evaluate=objective.for_evaluation(run.loss) if has_validation else None,
        patience=run.config.patience if has_validation else None,
        batches_per_launch=run.config.batches_per_launch,
        callbacks=[on_epoch],
        is_stopped=on_launch,
    )
    run.save()


def finish(run: Run, line: LiveLine) -> dict[str, Any]:
    """Measure the best net on the test part; result.json and the curves. Returns the figures."""
    figures = run.task.report(run.trained(), run.splits, run.dir)
    history.draw(run.progress.history, run.name, run.dir / "curves.png")
    result = {
        "task": run.name,
        "seed": run.options.seed,
        "epochs": len(run.progress.history),
        "best_epoch": run.progress.best_epoch,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(run.best[0])),
        "seconds": round(run.seconds, 1),
        "figures": figures,
    }
    run_folder.write_json(run.dir / "result.json", result)
    for name, value in figures.items():
        line.say(f"{name:24} {_number(value)}")
    line.say(f"run folder {run.dir}, {result['parameters']:,} parameters, {run.seconds:.1f} s")
    return figures


def spread(figures: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean, standard deviation (n - 1) and values of each figure that is a number in all runs."""
    table: dict[str, Any] = {}
    for name in figures[0]:
        values = [each.get(name) for each in figures]
        if all(isinstance(value, int | float) for value in values):
            deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
            table[name] = {"mean": float(np.mean(values)), "std": deviation, "values": values}
    return table


def tag(name: str) -> str:
    """Return the name of a column of metrics.jsonl in TensorBoard: its group, a slash, its own."""
    if name.startswith("valid_"):
        return f"validation/{name.removeprefix('valid_')}"
    return f"progress/{name}" if name == "seconds" else f"training/{name}"


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _row_parts(progress: Progress, epochs: int, time_left: str) -> list[str]:
    """What a line says of a fit, in order of importance."""
    done = len(progress.history)
    parts = [f"epoch {progress.epoch if progress.batch else done:>{len(str(epochs))}}/{epochs}"]
    parts.append(time_left)
    if not progress.history:
        return parts
    row = {k: v for k, v in progress.history[-1].items() if k not in (STEP, "grad_norm")}
    parts += [f"{name} {row.pop(name):.4f}" for name in ("loss", "valid_loss") if name in row]
    parts += [f"{name} {value:.4f}" for name, value in row.items()]
    return (
        [*parts, f"best {progress.best_epoch}"] if "valid_loss" in progress.history[-1] else parts
    )
