"""Files of earlier versions load in this one: they are kept in git and never written anew."""

import json
import shutil
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from agents import policy
from agents.settings import Settings
from dqnlab import checkpoint, records
from dqnlab.types import EnvSpec
from scripts import options

GOLDEN = Path(__file__).parent / "golden"
RESULTS = Path(__file__).resolve().parents[2] / "docs" / "results"


def test_a_checkpoint_of_format_1_gives_the_arrays_that_were_saved():
    saved, problems = checkpoint.latest(GOLDEN / "format1")
    assert problems == []
    assert (saved.step, saved.kind, saved.meta) == (100, "training", {"rows": 4, "seconds": 1.25})
    like = {
        "w": np.zeros((2, 3), np.float32),
        "half": np.zeros(2, ml_dtypes.bfloat16),
        "step": np.zeros((), np.int32),
        "key": np.zeros(2, np.uint32),
    }
    state = checkpoint.load_state(saved, like)
    np.testing.assert_array_equal(state["w"], [[0, 0.25, 0.5], [0.75, 1, 1.25]])
    np.testing.assert_array_equal(state["half"].astype(np.float32), [1.5, -2])
    assert int(state["step"]) == 7
    np.testing.assert_array_equal(state["key"], [1, 2])
    (segment,) = checkpoint.read_log(saved)
    assert (segment.start, segment.stop) == (0, 4)
    np.testing.assert_array_equal(segment.arrays["obs"], np.arange(24).reshape(4, 6))
    np.testing.assert_array_equal(segment.arrays["reward"], [0, 1, -1, 0.5])


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*-config.json")), ids=lambda path: path.stem)
def test_the_config_of_a_published_run_still_describes_its_run(path: Path, tmp_path: Path):
    shutil.copy(path, tmp_path / "config.json")
    config = policy.read_config(tmp_path)
    settings = records.load(Settings, config["settings"], str(path))
    spec = records.load(EnvSpec, config["spec"], str(path))
    kept = json.loads(path.read_text())["settings"]
    assert {name: getattr(settings, name) for name in kept} == kept
    assert spec.obs_shape == (84, 84)
    saved = options.read_options(tmp_path)
    named = (spec.game.lower(), f"s{saved.seed}")  # the file: game, perhaps more, seed
    assert (path.stem.split("-")[0], path.stem.split("-")[-2]) == named
    assert saved.resume == tmp_path
