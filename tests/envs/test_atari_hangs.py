"""Guards against what would hang or end the process: each in a process of its own."""

import os
import signal
import subprocess
import sys
import textwrap
import time


def start(code):
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    try:
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    return process.returncode, out, err


def test_an_unknown_action_raises_and_the_games_go_on():
    code, out, err = finish(
        start("""
        import envs
        env = envs.make("pong", 2)
        state, _ = env.reset(0)
        for actions in ([99, 0], [0, -1]):
            try:
                env.step(state, actions)
            except ValueError as error:
                print(error)
        env.step(state, [1, 2])
        """)
    )
    assert code == 0, err
    assert "actions[0] is 99, must be within 0 .. 5" in out
    assert "actions[1] is -1, must be within 0 .. 5" in out


def test_games_are_refused_in_a_forked_child():
    code, out, err = finish(
        start("""
        import os, warnings
        warnings.simplefilter("ignore")
        import envs
        env = envs.make("pong", 2)
        state, _ = env.reset(0)
        if (child := os.fork()) == 0:
            try:
                env.step(state, [0, 0])
            except RuntimeError as error:
                print(error, flush=True)
                os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        env.step(state, [0, 0])
        """)
    )
    assert code == 0, err
    assert "make them after the fork" in out


def test_a_step_that_never_returns_ends_the_process_with_a_report():
    code, _, err = finish(
        start("""
        import time
        import envs
        from envs import host
        env = envs.make("pong", 2, timeout_s=1.0)
        state, _ = env.reset(0)
        for _ in range(150):  # longer than the timeout together, but not one by one
            state, _ = env.step(state, [0, 1])
            time.sleep(0.01)
        host.check_actions = lambda actions, *_: __import__("numpy").array(actions)
        env.step(state, [99, 0])
        """)
    )
    assert code == 70, err
    assert "no answer for 1 s from Pong, step 151, actions [99  0]" in err
    assert "vector_env.py" in err  # the stack that hangs


def test_a_process_that_was_suspended_is_not_ended():
    process = start("""
        import os, signal, time
        from envs import watchdog
        watched = watchdog.start(1.0, lambda: "nothing")
        watched.enter()
        os.kill(os.getpid(), signal.SIGSTOP)
        time.sleep(0.4)  # enough to be ended by a clock that went on
        watched.leave()
        print("alive")
        """)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
    time.sleep(1.5)
    process.send_signal(signal.SIGCONT)
    code, out, err = finish(process)
    assert (code, out) == (0, "alive\n"), err
