"""Watching: one game for all viewers, over real sockets, with nets of a few weights."""

import asyncio
import contextlib
import dataclasses
import json
import os
import re
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import jax
import numpy as np
import pytest
import websockets

import envs
from agents import policy, presets, registry
from dqnlab.types import UserError
from scripts import watch, watch_app, watch_controls, watch_game
from tests.scripts.serving import running

ROOT = Path(__file__).resolve().parents[2]
INFO = {"actions": ["NOOP", "LEFT"], "checkpoints": ["last", "best"], "has_sticky": True}


def save_run(run_dir: Path, game: str, agent_name: str = "dqn", hidden: int = 8) -> Path:
    """A run folder of an untrained agent."""
    env = envs.make(game, 1)
    env.close()
    settings = dataclasses.replace(presets.preset(agent_name, "laptop"), hidden=hidden)
    agent = registry.make(agent_name, settings, env.spec)
    (run_dir / "weights").mkdir(parents=True)
    policy.write_config(run_dir, agent_name, settings, env.spec, {})
    init = jax.jit(agent.init)
    for seed, name in enumerate(("best", "000000000100")):
        params, net_state = init(jax.random.PRNGKey(seed))
        policy.save(run_dir / "weights" / f"{name}.safetensors", params, net_state, 100)
    return run_dir


@pytest.fixture(scope="module")
def catch(tmp_path_factory) -> Path:
    return save_run(tmp_path_factory.mktemp("runs") / "catch", "catch", "c51")


@pytest.fixture(scope="module")
def breakout(tmp_path_factory) -> Path:
    return save_run(tmp_path_factory.mktemp("runs") / "breakout", "Breakout")


@contextlib.contextmanager
def watching(run_dir: Path, **changes: Any) -> Iterator[str]:
    """The URL of a page on which the run's agent plays."""
    failures: list[BaseException] = []
    hub = watch_app.Hub()
    options = watch.Options(run_dir, **changes)
    player, info = watch.make_player(options, hub.publish, failures.append)
    player.start()
    try:
        app = watch_app.make(hub, info, player, {"127.0.0.1", "localhost"})
        with running(app, changes.get("port", 0)) as url:
            yield url
    finally:
        player.stop()
    assert not failures


@pytest.fixture(scope="module")
def url(catch) -> Iterator[str]:
    with watching(catch) as url:
        yield url


class Viewer:
    """What the page does, without the page."""

    def __init__(self, socket: websockets.ClientConnection):
        self.socket = socket

    async def moment(self) -> tuple[dict[str, Any], bytes]:
        """The next moment: its state and its pictures."""
        while isinstance(message := await self.socket.recv(), str):
            pass
        await self.socket.send("seen")
        (length,) = struct.unpack_from("<I", message)
        return json.loads(message[4 : 4 + length]), zlib.decompress(message[4 + length :])

    async def set(self, **command: Any) -> None:
        await self.socket.send(json.dumps(command))

    async def until(self, **wanted: Any) -> tuple[dict[str, Any], bytes]:
        """The next moment with such a state."""
        async with asyncio.timeout(30):
            while True:
                state, pictures = await self.moment()
                if all(state[key] == value for key, value in wanted.items()):
                    return state, pictures


@contextlib.asynccontextmanager
async def viewer(url: str, **options: Any) -> AsyncIterator[tuple[Viewer, dict[str, Any]]]:
    address = url.replace("http", "ws") + "/watch"
    async with websockets.connect(address, open_timeout=60, **options) as socket:
        yield Viewer(socket), json.loads(await socket.recv())["info"]


def test_a_viewer_sees_the_game_go_on_its_values_and_the_distribution_of_returns(url):
    async def look() -> None:
        async with viewer(url) as (one, info):
            assert info["game"] == "catch"
            assert info["checkpoints"] == ["100", "last", "best"]
            await one.set(paused=False)
            first, pictures = await one.until(paused=False)
            height, width = first["frame"]
            assert first["screen"] == [height, width]  # it has no emulator: what the net sees
            assert len(pictures) == height * width * (5 if first["has_heat"] else 4)
            frame = np.frombuffer(pictures, np.uint8)[3 * height * width :][: height * width]
            assert (frame > 0).sum() == 2  # ball and paddle
            assert len(first["q"]) == len(info["actions"])
            bars = np.array(first["returns"]["bars"])
            np.testing.assert_allclose(bars.sum(axis=1), 1.0, atol=0.01)
            values = np.linspace(first["returns"]["low"], first["returns"]["high"], bars.shape[1])
            np.testing.assert_allclose(bars @ values, first["q"], atol=0.5)
            later, _ = await one.moment()
            assert (later["game"], later["step"]) > (first["game"], first["step"])

    asyncio.run(look())


def test_pause_stops_the_game_and_a_step_is_one_step(url):
    async def look() -> None:
        async with viewer(url) as (one, _):
            await one.set(paused=True)
            before, _ = await one.until(paused=True)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    await one.moment()
            for _ in range(3):
                await one.set(step=True)
                after, _ = await one.moment()
                if after["game"] == before["game"]:
                    assert after["step"] == before["step"] + 1
                before = after
            await one.set(new_game=True)
            after, _ = await one.moment()
            assert (after["game"], after["step"]) == (before["game"] + 1, 0)

    asyncio.run(look())


def test_controls_are_shared_by_all_viewers_and_nonsense_is_answered_to_its_sender(url):
    async def look() -> None:
        async with viewer(url) as (one, _), viewer(url) as (two, _):
            await one.set(paused=True)
            await one.set(epsilon=0.25)
            await two.until(epsilon=0.25, paused=True, viewers=2)
            q, _ = await one.until(epsilon=0.25)
            await two.set(checkpoint="100")
            other, _ = await one.until(checkpoint="100")
            assert other["q"] != q["q"]  # other weights
            await two.set(checkpoint="best")
            same, _ = await one.until(checkpoint="best")
            assert same["q"] == q["q"]
            await one.set(heat=False)
            assert not (await two.until(heat=False))[0]["has_heat"]
            await one.set(heat=True)
            assert (await two.until(heat=True))[0]["has_heat"]
            await one.socket.send("nonsense")
            while not isinstance(answer := await one.socket.recv(), str):
                pass
            assert json.loads(answer) == {"error": "the message is no JSON"}

    asyncio.run(look())


def test_a_person_who_takes_over_decides(url):
    async def look() -> None:
        async with viewer(url) as (one, info):
            await one.set(paused=True)
            await one.set(new_game=True)
            await one.set(human=True)
            right = info["actions"].index("RIGHT")
            await one.set(action=right)
            state, pictures = await one.until(human=True)
            height, width = state["frame"]

            def paddle(pictures: bytes) -> int:
                bottom = pictures[3 * height * width :][: height * width][-width:]
                return bottom.index(max(bottom))

            before = paddle(pictures)
            await one.set(step=True)
            _, pictures = await one.until(action=right, step=1)
            assert paddle(pictures) == min(before + 1, width - 1)
            await one.set(human=False)
            await one.until(human=False)

    asyncio.run(look())


def test_nobody_waits_for_a_viewer_that_does_not_keep_up(url):
    async def look() -> None:
        async with viewer(url) as (fast, _), viewer(url) as (slow, _):
            await fast.set(speed=0)
            await fast.set(paused=False)
            start = time.monotonic()
            for _ in range(20):
                await fast.moment()
            assert time.monotonic() - start < 20
            await fast.set(paused=True)
            late, _ = await fast.until(paused=True)
            received = []
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.5):
                    while True:
                        received.append(await slow.socket.recv())
            assert len(received) == 3  # it said of none that it has seen it
            await slow.socket.send("seen")
            newest, _ = await slow.moment()
            assert (newest["game"], newest["step"]) == (late["game"], late["step"])

    asyncio.run(look())


def test_without_viewers_the_game_rests(url):
    async def look() -> int:
        async with viewer(url) as (one, _):
            await one.set(paused=False)
            state, _ = await one.until(paused=False)
            return int(state["game"])

    first = asyncio.run(look())
    time.sleep(1.0)  # at no limit of speed: dozens of games of catch
    assert asyncio.run(look()) <= first + 2


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, 200),
        ({"host": "localhost:1234"}, 200),
        ({"host": "evil.example"}, 403),
        ({"host": "127.0.0.1.evil.example:8001"}, 403),
        ({"origin": "http://evil.example"}, 403),
    ],
)
def test_foreign_hosts_and_origins_are_refused(url, headers, code):
    assert httpx.get(url, headers=headers, timeout=60).status_code == code


@pytest.mark.parametrize("origin", ["http://evil.example", "http://127.0.0.1:1", "null"])
def test_other_sites_cannot_open_the_socket(url, origin):
    async def look() -> None:
        with pytest.raises(websockets.InvalidStatus) as refused:
            async with viewer(url, origin=origin):
                pass
        assert refused.value.response.status_code == 403

    asyncio.run(look())


def test_the_page_loads_nothing_from_elsewhere_and_may_not(url):
    answer = httpx.get(url, timeout=60)
    assert not re.findall(r"(?:https?:)?//[\w.]+", answer.text)
    assert not re.findall(r"\b(?:src|href)=\"(?!data:)", answer.text)
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert httpx.get(f"{url}/../watch.py", timeout=60).status_code == 404


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("[1]", "must be one of"),
        ("{}", "must be one of"),
        ('{"paused": true, "step": true}', "must be one of"),
        ('{"viewers": 3}', "must be one of"),
        ('{"paused": 1}', "paused must be true or false"),
        ('{"epsilon": 1.5}', "within 0 .. 1"),
        ('{"epsilon": NaN}', "within 0 .. 1"),
        ('{"epsilon": true}', "within 0 .. 1"),
        ('{"speed": 1e9}', "one of"),
        ('{"action": 2}', "within 0 .. 1"),
        ('{"action": 0.5}', "integer"),
        ('{"checkpoint": "../../etc/passwd"}', "one of last, best"),
        ('{"checkpoint": []}', "one of last, best"),
    ],
)
def test_a_command_that_is_none_is_refused(text, says):
    with pytest.raises(UserError, match=says):
        watch_controls.parse(text, INFO)


def test_a_command_within_its_limits_is_taken():
    command = watch_controls.parse('{"sticky_actions": 0.25}', INFO)
    assert command == ("sticky_actions", 0.25)


def test_the_screen_is_the_game_that_the_agent_plays(breakout):
    trained = policy.load(breakout)
    game = watch_game.Game(trained, watch_game.protocol_of(trained), seed=3)
    alone = envs.make("Breakout", 1, watch_game.protocol_of(trained), training=False)
    state, timestep = alone.reset(3)
    score = 0.0
    for step in range(80):
        moment = game.look(epsilon=1.0, with_heat=step == 79)
        np.testing.assert_array_equal(moment.frame, timestep.obs[0])
        assert moment.score == score
        assert moment.lives == alone.lives()[0]
        game.step()
        state, timestep = alone.step(state, np.array([moment.action], np.int32))
        score += float(timestep.reward[0])
    assert moment.screen.shape == (210, 160, 3)
    assert np.ptp(moment.screen.astype(int), axis=-1).max() > 100  # in colour
    # The same picture, up to its resolution: one row of the frame is 2.5 of the screen.
    grey = moment.screen @ np.array([0.299, 0.587, 0.114])
    rows = np.linspace(0, 209, 84).round().astype(int)
    columns = np.linspace(0, 159, 84).round().astype(int)
    small = grey[np.ix_(rows, columns)]
    assert np.corrcoef(small.ravel(), moment.frame.ravel())[0, 1] > 0.8
    assert moment.heat.shape == (84, 84)
    assert moment.heat.max() == 255
    game.close()
    alone.close()


def test_a_game_that_neither_shows_images_nor_renders_cannot_be_watched(tmp_path):
    run_dir = save_run(tmp_path / "run", "tests.own_games:Blind-v0")
    with pytest.raises(UserError, match="Blind-v0 has no pictures: its observations are numbers"):
        watch.make_player(watch.Options(run_dir), lambda moment: None, lambda error: None)


def test_a_game_of_numbers_that_renders_is_watched_without_saliency(tmp_path):
    run_dir = save_run(tmp_path / "run", "tests.own_games:Walk-v0")

    async def look() -> None:
        async with viewer(url) as (one, info):
            about = (info["sees_images"], info["has_sticky"], info["protocol"])
            assert about == (False, False, "")
            await one.set(paused=True)
            await one.set(new_game=True)
            await one.until(step=0)
            await one.set(step=True)
            state, pictures = await one.until(step=1)
            assert (state["screen"], state["has_heat"]) == ([41, 63], False)
            screen = np.frombuffer(pictures, np.uint8)[: 41 * 63 * 3].reshape(41, 63, 3)
            assert np.flatnonzero(screen[0, :, 0]).tolist() == list(range(4, 12))

    with watching(run_dir) as url:
        asyncio.run(look())


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--port", "99999"], "--port is 99999"),
        (["--epsilon", "2"], "--epsilon is 2"),
        (["--seed", "-1"], "--seed is -1"),
        (["--checkpoint", "7"], "no weights '7'"),
    ],
)
def test_a_mistake_names_the_argument(catch, args, says):
    with pytest.raises(UserError, match=re.escape(says)):
        watch.main([str(catch), *args])


def test_a_folder_that_is_no_run_is_named(tmp_path):
    done = run_command(str(tmp_path))
    assert done.returncode == 2
    assert str(tmp_path) in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def run_command(*args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "scripts/watch.py", *args]
    return subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
    )


@pytest.mark.slow
def test_five_viewers_get_thirty_moments_a_second_each(tmp_path):
    """The Nature network, saliency on; on two cores with nothing else to do."""
    run_dir = save_run(tmp_path / "breakout", "Breakout", hidden=512)

    async def count(url: str) -> list[float]:
        async def rate() -> float:
            async with viewer(url) as (one, _):
                await one.set(speed=4.0)
                for _ in range(20):
                    await one.moment()
                start, number = time.monotonic(), 0
                while time.monotonic() - start < 5:
                    await one.moment()
                    number += 1
                return number / (time.monotonic() - start)

        return await asyncio.gather(*(rate() for _ in range(5)))

    with watching(run_dir) as url:
        rates = asyncio.run(count(url))
    print("moments per second:", [round(rate, 1) for rate in rates])
    assert min(rates) >= 30
