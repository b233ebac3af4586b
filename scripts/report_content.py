"""What a report says of a run: scores beside others', timings, the command that repeats it."""

import dataclasses
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agents import presets, schedules
from dqnlab import run_folder
from dqnlab.plurals import count
from dqnlab.types import UserError
from envs import protocols, published, scores
from scripts.options import Options
from scripts.runs import Run

EVALUATION = "eval.json"
TRAINING = "episode_return_mean"
_ASIDE = {"settings", "run_dir", "resume", "quiet", "device"}  # change nothing that is learnt


def evaluation_rows(
    run: Run, result: dict[str, Any] | None, baselines: Sequence[str]
) -> list[dict[str, Any]]:
    """The run's own scores, random play, the human, and published agents, best known last.

    Its score in training is measured as the published averages are; the evaluated one, where there
    is one, comes first.
    """
    rows = []
    if result is not None:
        protocol = protocols.of_run(result["protocol"])
        spread = f"min {result['min']:,.1f}, max {result['max']:,.1f}"
        if result["mean_ci95"] is not None and result["episodes"] > 1:
            low, high = result["mean_ci95"]
            spread = f"{low:,.2f} .. {high:,.2f} (95 %), {spread}"
        rows.append(
            {
                "who": f"{run.agent}, this run",
                "frames": result["frames"],
                "score": result["mean"],
                "interval or range": spread if result["episodes"] > 1 else "",
                "human-normalised": _share(scores.human_normalized(run.game, result["mean"])),
                "how": f"{count(result['episodes'], 'game')}, epsilon {result['epsilon']:g}"
                + ("" if protocol is None else f", {protocol.name}"),
            }
        )
    last = run.rows[-1]
    if (score := last.get(TRAINING)) is not None:
        rows.append(
            {
                "who": f"{run.agent}, this run",
                "frames": last["frames"],
                "score": float(score),
                "interval or range": "",
                "human-normalised": _share(scores.human_normalized(run.game, score)),
                "how": "in training, mean of last 100 games"
                + (f", {run.protocol['name']}" if "sticky_actions" in run.protocol else ""),
            }
        )
    others = [(name, None, scores.reference(run.game).get(name), "") for name in _REFERENCES]
    for baseline in baselines:
        points = published.published(baseline, run.game)
        how = f"published, {published.how_measured(baseline)}"
        # The nearest published point below the run's own length, and the last one.
        near = [frames for frames in points if frames <= run.rows[-1]["frames"]][-1:]
        for frames in dict.fromkeys([*near, *list(points)[-1:]]):
            others.append((baseline, frames, points[frames], how))
    rows += [
        {
            "who": who,
            "frames": frames,
            "score": score,
            "interval or range": "",
            "human-normalised": _share(scores.human_normalized(run.game, score)),
            "how": how or _REFERENCES[who],
        }
        for who, frames, score, how in others
        if score is not None
    ]
    return rows


_REFERENCES = {
    "random": "random actions: DQN Zoo's table, no-op starts",
    "human": "professional tester: DQN Zoo's table",
}


def describe_protocol(protocol: dict[str, Any]) -> str:
    """The rules that change scores, in one line."""
    if "sticky_actions" not in protocol:
        return "the game's own rules"
    sticky, noop_max = protocol["sticky_actions"], protocol["noop_max"]
    rules = [
        f"an action sticks with probability {sticky:g}" if sticky else "no sticky actions",
        f"up to {noop_max} no-ops at the start" if noop_max else "no no-ops at the start",
        "a lost life ends the learner's return"
        if protocol["life_loss_terminal"]
        else "only the end of a game ends the learner's return",
        f"games end after {protocol['max_frames_eval']:,} frames",
    ]
    return f"{protocol['name']}: {', '.join(rules)}"


def _share(value: float | None) -> str | None:
    return None if value is None else f"{value:.1%}"


def read_evaluation(path: Path) -> dict[str, Any] | None:
    """eval.json of a run folder; None where the run was not evaluated yet."""
    if not (path / EVALUATION).exists():
        return None
    result = run_folder.read_json(path / EVALUATION)
    needed = ("mean", "mean_ci95", "min", "max", "frames", "episodes", "epsilon", "protocol")
    if not isinstance(result, dict) or any(key not in result for key in needed):
        raise UserError(f"{path / EVALUATION} is not what evaluate.py writes: {', '.join(needed)}")
    return result


def timings(run: Run) -> dict[str, Any]:
    """How long it took, and how fast it was; from the rows of its metrics."""
    last = run.rows[-1]
    seconds, frames, updates = (last.get(key) for key in ("seconds", "frames", "updates"))
    speeds = sorted(row["frames_per_second"] for row in run.rows if row.get("frames_per_second"))
    facts: dict[str, Any] = {"frames": f"{frames:,}"}
    if updates is not None:
        facts["gradient updates"] = f"{updates:,}"
    if seconds:
        facts["training time"] = f"{seconds / 3600:.2f} hours"
        facts["frames per second"] = f"{frames / seconds:,.0f} on average"
        if speeds:
            middle = speeds[len(speeds) // 2]
            span = f"{middle:,.0f} (median row), {speeds[0]:,.0f} to {speeds[-1]:,.0f}"
            facts["frames per second"] += f", {span}"
    return facts


def reproduce(config: dict[str, Any]) -> str:
    """The command that makes the same run again: what differs from the defaults and the preset."""
    options = dict(config["options"])
    if protocols.of_run(config["spec"]["protocol"]) is None:
        options["protocol"] = None  # older runs of such games name one, which they never had
    plain = {f.name: f.default for f in dataclasses.fields(Options) if f.name not in _ASIDE}
    words = ["python", "scripts/train_dqn.py", "--game", str(options["game"])]
    for name, default in plain.items():
        if name != "game" and name in options and options[name] != default:
            words += [_flag(name), str(options[name])]
    preset = presets.preset(config["agent"], options.get("preset", "laptop"))
    frame_skip = int(config["spec"]["frame_skip"])
    fixed = schedules.in_steps(preset, int(options["frames"]) // frame_skip)
    for name, value in config["settings"].items():
        if getattr(fixed, name) != value:
            words += _words(name, value)
    return shlex.join(words)


def _words(name: str, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [_flag(name if value else f"no-{name}")]
    return [_flag(name), str(value)]


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
