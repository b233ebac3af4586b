"""Weights & Biases, where it is asked for: the run's rows as they come, its video at the end."""

import uuid
from pathlib import Path
from typing import Any

from dqnlab import files, run_folder
from dqnlab.metrics import STEP


class Tracker:
    """One run there. A resumed run goes on in the same one."""

    def __init__(self, project: str, run_dir: Path):
        import wandb

        self._dir = run_dir
        id_file = run_dir / "wandb-id"
        if not id_file.exists():
            files.write_atomic(id_file, uuid.uuid4().hex[:12].encode())
        self._run = wandb.init(
            project=project,
            name=run_dir.name,
            id=id_file.read_text("utf-8"),
            resume="allow",
            dir=run_dir,
            config=run_folder.read_json(run_dir / run_folder.CONFIG),
            reinit="create_new",  # --num-seeds has several at once
            settings=wandb.Settings(silent=True, console="off"),
        )
        # Counted in agent steps, not in calls: rows that a killed run wrote twice fall together.
        self._run.define_metric("*", step_metric=STEP)

    def write(self, row: dict[str, Any]) -> None:
        """One row of metrics.jsonl."""
        self._run.log({name: value for name, value in row.items() if value is not None})

    def close(self) -> None:
        """Sends the videos that the run has by now, and waits until all is sent."""
        import wandb

        for path in sorted((self._dir / "videos").glob("*.mp4")):
            self._run.log({f"videos/{path.stem}": wandb.Video(str(path), format="mp4")})
        self._run.finish()
