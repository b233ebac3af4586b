"""Signals: handled while a command works, in the main thread, and never afterwards."""

import os
import signal
import threading

from scripts import train_dqn
from scripts.interrupts import Interrupts

CATCH = (
    "--agent dqn --game catch --num-envs 4 --frames 400 --learning-starts 200 --hidden 16 "
    "--replay-capacity 1000 --eval-episodes 0 --device cpu --quiet"
).split()


def test_a_run_in_a_thread_trains_and_leaves_signals_alone(tmp_path):
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    codes = []
    args = [*CATCH, "--run-dir", str(tmp_path / "run")]
    thread = threading.Thread(target=lambda: codes.append(train_dqn.main(args)))
    thread.start()
    thread.join()
    assert codes == [0]
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == before


def test_afterwards_the_handlers_are_those_from_before():
    before = signal.getsignal(signal.SIGTERM)
    with Interrupts() as interrupts:
        assert not interrupts.is_set()
        os.kill(os.getpid(), signal.SIGTERM)
        assert interrupts.is_set()
        assert interrupts.exit_code == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before
