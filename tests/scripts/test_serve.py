"""Predictions over HTTP, by a real server on a real socket."""

import asyncio
import contextlib
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import jax
import numpy as np
import pytest

from dqnlab.types import UserError
from scripts import http_server, predictor, serve, serve_app
from scripts.serve_batching import Batcher
from tests.scripts.serving import running, small_policy

ROOT = Path(__file__).resolve().parents[2]
NPY = {"content-type": "application/x-npy"}


def npy(x: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, x)
    return buffer.getvalue()


def frames(number: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (number, 3, 2, 2), np.uint8)


@pytest.fixture(scope="module")
def trained():
    return small_policy()


@pytest.fixture(scope="module")
def batcher(trained) -> Batcher:
    return Batcher(predictor.of_agent(trained, "dqn"), max_batch=8, max_waiting=200)


@pytest.fixture(scope="module")
def url(trained, batcher) -> Iterator[str]:
    app = serve_app.make(predictor.of_agent(trained, "dqn"), batcher, timeout_s=1.0)
    with running(app) as url:
        yield url


@pytest.fixture(scope="module")
def client(url) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=60) as client:
        yield client


@pytest.mark.parametrize("number", [1, 3, 8])
def test_json_and_npy_give_the_agents_q_values_and_actions(client, trained, number):
    x = frames(number)
    q, actions = np.asarray(trained.q_values(x)), np.asarray(trained.act(x))
    answers = [
        client.post("/predict", json={"inputs": x.tolist()}),
        client.post("/predict", content=npy(x), headers=NPY),
    ]
    if number == 1:  # the batch's axis may be left out
        answers += [
            client.post("/predict", json={"inputs": x[0].tolist()}),
            client.post("/predict", content=npy(x[0]), headers=NPY),
        ]
    for answer in answers:
        assert answer.status_code == 200
        content = answer.json()
        np.testing.assert_allclose(content["q_values"], q, rtol=1e-5, atol=1e-6)
        assert content["action"] == actions.tolist()
        assert content["action_name"] == [trained.spec.action_meanings[a] for a in actions]


def test_requests_at_once_share_batches_each_gets_its_own_answer_and_nothing_is_compiled(
    url, batcher, trained
):
    x = frames(100, seed=1)
    compiled = []

    def listen(event: str, duration: float, **kwargs: object) -> None:
        if "backend_compile" in event:
            compiled.append(event)

    async def ask_all() -> list[httpx.Response]:
        limits = httpx.Limits(max_connections=50)
        async with httpx.AsyncClient(base_url=url, limits=limits, timeout=60) as client:
            posts = [client.post("/predict", content=npy(each), headers=NPY) for each in x]
            return await asyncio.gather(*posts)

    expected = np.asarray(trained.q_values(x))
    inputs, batches = batcher.num_inputs, batcher.num_batches
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        answers = asyncio.run(ask_all())
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    q = np.concatenate([answer.json()["q_values"] for answer in answers])
    np.testing.assert_allclose(q, expected, rtol=1e-5, atol=1e-6)
    assert batcher.num_inputs - inputs == 100
    assert batcher.num_batches - batches < 100
    assert not compiled


def test_a_full_queue_answers_busy_and_the_rest_is_answered(trained):
    net = predictor.of_agent(trained, "dqn")
    with running(serve_app.make(net, Batcher(net, 2, max_waiting=4), 10.0)) as url:

        async def ask_all() -> list[httpx.Response]:
            limits = httpx.Limits(max_connections=100)
            async with httpx.AsyncClient(base_url=url, limits=limits, timeout=60) as client:
                content = npy(frames(2))
                posts = [client.post("/predict", content=content, headers=NPY) for _ in range(100)]
                return await asyncio.gather(*posts)

        answers = asyncio.run(ask_all())
    codes = {answer.status_code for answer in answers}
    assert codes <= {200, 503}
    assert 200 in codes
    for answer in answers:
        if answer.status_code == 503:
            assert answer.json() == {"error": "busy: ask again later"}
            assert answer.headers["retry-after"] == "1"


def header(text: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


@pytest.mark.parametrize(
    ("body", "code", "says"),
    [
        (npy(frames(9)), 422, "9 inputs in one request; at most 8"),
        (npy(frames(1)[:, :2]), 422, "shape [1, 2, 2, 2]; expected uint8[3, 2, 2]"),
        (npy(frames(0)), 422, "shape [0, 3, 2, 2]"),
        (npy(frames(1).astype(np.float32)), 422, "must be uint8"),
        (npy(np.asfortranarray(frames(2))), 422, "C order"),
        (npy(frames(2))[:-1], 400, "more or fewer numbers"),
        (npy(frames(2)) + b"0", 400, "more or fewer numbers"),
        (b"", 400, "no .npy"),
        (b"PK\x03\x04" + bytes(100), 400, "no .npy"),
        (b"\x93NUMPY\x01\x00\xff\xff{", 400, "too long or cut off"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff{", 400, "too long or cut off"),
        (header("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}"), 422, "must be uint8"),
        (
            header("{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999999, 3, 2, 2)}"),
            422,
            "at most 8",
        ),
        (header("{'descr': '|u1', 'fortran_order': False, 'shape': (-1, 3, 2, 2)}"), 400, "read"),
        (header("__import__('os').system('true')"), 400, "cannot be read"),
        (header("(" * 4000), 400, "cannot be read"),
        (header("-" * 4000), 400, "cannot be read"),
    ],
)
def test_an_npy_body_that_is_not_what_it_should_be_is_refused(client, body, code, says):
    answer = client.post("/predict", content=body, headers=NPY)
    assert (answer.status_code, says in answer.json()["error"]) == (code, True), answer.text


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", 422),
        ("[]", 422),
        ("{}", 422),
        ('{"inputs": []}', 422),
        ('{"inputs": 1}', 422),
        ('{"inputs": [1, [2]]}', 422),
        ('{"inputs": [[[NaN, 1], [1, 1]], [[1, 1], [1, 1]], [[1, 1], [1, 1]]]}', 422),
        ('{"inputs": [[[true, 1], [1, 1]], [[1, 1], [1, 1]], [[1, 1], [1, 1]]]}', 422),
        ('{"inputs": [[["1", 1], [1, 1]], [[1, 1], [1, 1]], [[1, 1], [1, 1]]]}', 422),
        ('{"inputs": [[[256, 1], [1, 1]], [[1, 1], [1, 1]], [[1, 1], [1, 1]]]}', 422),
        ('{"inputs": [[[-1, 1], [1, 1]], [[1, 1], [1, 1]], [[1, 1], [1, 1]]]}', 422),
        ('{"inputs": [[[0.5, 1], [1, 1]], [[1, 1], [1, 1]], [[1, 1], [1, 1]]]}', 422),
        ('{"inputs": [[[1e999, 1], [1, 1]], [[1, 1], [1, 1]], [[1, 1], [1, 1]]]}', 422),
        (
            '{"inputs": [[[1' + 400 * "0" + ", 1], [1, 1]], [[1, 1], [1, 1]], [[1, 1], [1, 1]]]}",
            422,
        ),
        ('{"inputs": ' + "[" * 2000 + "]" * 2000 + "}", 400),
        ('{"inputs": [1 2]}', 400),
        ('{"inputs": [1], "more": 1}', 422),
    ],
)
def test_json_that_is_not_what_it_should_be_is_refused(client, text, code):
    kind = {"content-type": "application/json; charset=utf-8"}
    answer = client.post("/predict", content=text.encode(), headers=kind)
    assert answer.status_code == code, answer.text
    assert set(answer.json()) == {"error"}


def test_other_content_types_paths_and_methods_are_refused_in_json(client):
    assert client.post("/predict", content=b"1").status_code == 415
    assert client.get("/predict").status_code == 405
    for path in ("/", "/../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/predict/"):
        answer = client.get(path)
        assert answer.status_code == 404
        assert set(answer.json()) == {"error"}


def test_a_body_beyond_the_limit_is_refused_declared_or_not(client):
    def chunks(number: int) -> Iterator[bytes]:
        for _ in range(number):
            yield bytes(100_000)

    for content in (bytes(10**6), chunks(10)):
        answer = client.post("/predict", content=content, headers=NPY)
        assert answer.status_code == 413
        assert "too large" in answer.json()["error"]
    for content in (bytes(3 * 10**7), chunks(300)):  # hung up on: the answer may be lost
        with contextlib.suppress(httpx.TransportError):
            assert client.post("/predict", content=content, headers=NPY).status_code == 413
    assert client.get("/health").status_code == 200


def raw(url: str, data: bytes, drip: float) -> bytes:
    """What a client gets that sends `data` byte by byte, every `drip` seconds."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        for byte in data:
            try:
                connection.sendall(bytes([byte]))
            except OSError:
                break
            time.sleep(drip)
        try:
            return connection.recv(10_000)
        except OSError:
            return b""


def test_slow_headers_are_hung_up_on_and_slow_bodies_time_out(url, client, monkeypatch):
    monkeypatch.setattr(http_server, "HEADER_SECONDS", 0.5)
    start = time.monotonic()
    assert raw(url, b"GET /health HTTP/1.1\r\nHost: a\r\nX: 1234567890\r\n\r\n", 0.1) == b""
    assert time.monotonic() - start < 4
    request = b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n1"
    assert raw(url, request, 0.0).startswith(b"HTTP/1.1 408")  # after timeout_s
    assert client.get("/health").json()["status"] == "ok"


def test_the_schema_says_what_comes_in_and_goes_out(client):
    schema = client.get("/openapi.json").json()
    assert schema["openapi"] == "3.1.0"
    operation = schema["paths"]["/predict"]["post"]
    assert set(operation["requestBody"]["content"]) == {"application/json", "application/x-npy"}
    ok = operation["responses"]["200"]["content"]["application/json"]["schema"]
    assert ok["properties"]["action_name"]["items"]["enum"] == ["NOOP", "LEFT", "RIGHT"]
    assert ok["properties"]["q_values"]["items"]["maxItems"] == 3


def start_server(*args: str) -> subprocess.Popen[str]:
    command = [sys.executable, "scripts/serve.py", *args]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
    )


@pytest.fixture(scope="module")
def digits(tmp_path_factory) -> Path:
    run_dir = tmp_path_factory.mktemp("runs") / "digits"
    command = [sys.executable, "scripts/train_supervised.py", "digits-mlp", "--epochs", "2"]
    command += ["--run-dir", str(run_dir)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=300)
    return run_dir


def test_the_command_serves_a_supervised_run_until_it_is_told_to_stop(digits):
    server = start_server(str(digits), "--port", "0", "--max-batch", "2")
    try:
        lines = iter(server.stdout.readline, "")
        url = next(line.split()[1] for line in lines if line.startswith("POST"))
        x = np.zeros((8, 8, 1), np.float32)
        answer = httpx.post(url, content=npy(x), headers=NPY, timeout=60).json()
        direct = predictor.load(digits, "best").predict(x[None])
        np.testing.assert_allclose(answer["probabilities"], direct["probabilities"], rtol=1e-4)
        assert answer["class_name"] == [str(int(direct["class"][0]))]
        answer = httpx.post(url, content=npy(x + np.nan), headers=NPY, timeout=60)
        assert answer.status_code == 422
        taken = url.split(":")[2].split("/")[0]
        with pytest.raises(UserError, match=f"cannot listen on 127.0.0.1 port {taken}"):
            serve.main([str(digits), "--port", taken, "--device", "cpu"])
    finally:
        server.send_signal(signal.SIGINT)
        _, said = server.communicate(timeout=60)
    assert server.returncode == 0, said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--port", "70000"], "--port is 70000"),
        (["--host", "no such host"], "cannot listen on no such host"),
        (["--max-batch", "0"], "--max-batch is 0"),
        (["--timeout", "nan"], "--timeout is nan"),
        (["--checkpoint", "7"], "no weights '7'"),
    ],
)
def test_a_mistake_names_the_argument(digits, args, says):
    with pytest.raises(UserError, match=re.escape(says)):
        serve.main([str(digits), "--device", "cpu", *args])


def test_a_folder_that_is_no_run_is_named(tmp_path):
    server = start_server(str(tmp_path))
    _, said = server.communicate(timeout=120)
    assert server.returncode == 2
    assert json.dumps(str(tmp_path))[1:-1] in said
    assert len(said.strip().splitlines()) == 1


def test_an_answer_does_not_wait_for_its_headers_to_be_acknowledged():
    listening = http_server.listen("127.0.0.1", 0)
    with listening, socket.create_connection(listening.getsockname()[:2]):
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
