"""A peer's own loop, counted and stopped between turns; what cannot run says so in one line."""

import ast
import sys

import pytest

from scripts import peer_loops, peers

REQUEST = {
    "game": "Pong",
    "replay_capacity": 1_000,
    "batch_size": 32,
    "update_period": 4,
    "epsilon": 0.01,
}
# Stands for CleanRL's script: its options, and a loop over gymnasium's vector games.
_CLEANRL = """
import sys
import gymnasium
options = dict(zip(sys.argv[1::2], sys.argv[2::2]))
assert options["--env-id"] == "PongNoFrameskip-v4", options
assert options["--start-e"] == options["--end-e"] == "0.01", options
print("prints of a peer are not answers")
games = gymnasium.vector.SyncVectorEnv([lambda: gymnasium.make("CartPole-v1")] * 2)
games.reset(seed=0)
while True:
    games.step(games.action_space.sample())
"""


def start(name, path=None, num_envs=1):
    return peers.start(
        name, path, python=sys.executable, num_envs=num_envs, num_threads=1, request=REQUEST
    )


def test_every_peer_has_a_loop():
    assert peers.PEERS.keys() == peer_loops.LOOPS.keys()


@pytest.mark.parametrize("module", ["peer_process", "peer_loops", "peer_dqn_zoo"])
def test_what_runs_in_a_peers_interpreter_imports_neither_jax_nor_us_at_its_top(module):
    path = peers._PROGRAM.with_name(f"{module}.py")
    imported = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module)
    assert imported <= {*sys.stdlib_module_names, "scripts"}


def test_turns_of_a_peer_last_as_many_steps_as_asked(tmp_path):
    script = tmp_path / "cleanrl" / "dqn_atari.py"
    script.parent.mkdir()
    script.write_text(_CLEANRL)
    peer = start("cleanrl", str(tmp_path))
    try:
        turns = [peer.turn(steps) for steps in (20, 7)]
    finally:
        peer.close()
    assert [turn.units for turn in turns] == [20, 8]  # two games side by side
    assert all(turn.seconds > 0 and turn.cpu_seconds > 0 for turn in turns)


def test_a_peer_that_fails_says_why_and_what_it_needs(tmp_path):
    script = tmp_path / "dqn_atari.py"
    script.write_text("raise OSError('no disk left')")
    peer = start("cleanrl", str(script))
    with pytest.raises(peers.PeerError, match=r"OSError: no disk left.*git clone"):
        peer.turn(1)
    peer.close()


def test_a_peer_without_its_checkout_is_refused(tmp_path):
    with pytest.raises(peers.PeerError, match="needs the path of its checkout"):
        start("dqn_zoo")
    with pytest.raises(peers.PeerError, match="does not exist"):
        start("cleanrl", str(tmp_path / "missing"))
