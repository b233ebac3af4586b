import json

import pytest

from dqnlab.types import UserError
from scripts import reuse_torso, train_dqn


def test_nothing_to_compare_is_a_clear_error(tmp_path):
    with pytest.raises(UserError, match="--seeds is 0"):
        reuse_torso.main(["--agent-run", str(tmp_path), "--seeds", "0"])
    with pytest.raises(UserError, match="no weights to start from"):
        reuse_torso.main(["--agent-run", str(tmp_path)])


@pytest.mark.slow
def test_a_small_comparison_trains_all_nets(tmp_path):
    agent = tmp_path / "agent"
    train_dqn.main(
        f"--game Pong --frames 8 --num-envs 2 --eval-episodes 0 --device cpu --quiet "
        f"--replay-capacity 400 --run-dir {agent}".split()
    )
    small = "--labels 64 --epochs 1 --autoencoder-epochs 1 --frames 0 --seeds 2".split()
    run_dir = tmp_path / "all"
    assert reuse_torso.main(["--agent-run", str(agent), *small, "--run-dir", str(run_dir)]) == 0
    table = json.loads((run_dir / "result.json").read_text())
    assert set(table) == {"random", "q-network", "autoencoder"}
    errors = {name: each["fixed_error_pixels"]["values"] for name, each in table.items()}
    assert all(len(values) == 2 for values in errors.values())
    assert len({tuple(values) for values in errors.values()}) == 3
