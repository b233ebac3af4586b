"""Thousands of requests, valid, damaged and random: never a crash, never a path in an answer."""

import io
import re
from collections.abc import Iterator

import httpx
import numpy as np
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from schemathesis import GenerationMode

from scripts import predictor, serve_app
from scripts.serve_batching import Batcher
from tests.scripts.serving import running, small_policy

LEAK = re.compile(r"Traceback|File \"|site-packages|\.py\b|/home|/root|/tmp|/usr|/work")
QUIET = {"deadline": None, "suppress_health_check": list(HealthCheck), "database": None}


def npy(x: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, x)
    return buffer.getvalue()


valid_npy = arrays.arrays(np.uint8, st.sampled_from([(3, 2, 2), (1, 3, 2, 2), (8, 3, 2, 2)])).map(
    npy
)
schemathesis.openapi.media_type("application/x-npy", valid_npy)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    net = predictor.of_agent(small_policy(), "dqn")
    with running(serve_app.make(net, Batcher(net, 8, max_waiting=200), 60.0)) as url:
        yield url


@pytest.fixture(scope="module")
def client(server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server, timeout=60) as client:
        yield client


def check_schema(server: str, number: int) -> None:
    """`number` requests each that the schema allows and that it forbids, to each operation."""
    schema = schemathesis.openapi.from_url(f"{server}/openapi.json")
    for found in schema.get_all_operations():
        operation = found.ok()
        for mode in GenerationMode:
            if mode is GenerationMode.NEGATIVE and operation.method == "get":
                continue  # nothing is forbidden where nothing is sent

            @settings(max_examples=number, **QUIET)
            @given(case=operation.as_strategy(generation_mode=mode))
            def send(case: schemathesis.Case) -> None:
                # Statuses, content types and bodies as in the schema; what is allowed is accepted,
                # what is forbidden refused; no server errors.
                answer = case.call_and_validate()
                assert not LEAK.search(answer.text)

            send()


def test_every_answer_to_what_the_schema_allows_or_forbids_is_as_the_schema_says(server):
    check_schema(server, 30)


@pytest.mark.slow
def test_two_thousand_answers_are_as_the_schema_says(server):
    check_schema(server, 500)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A body that was right, with bytes changed, left out, put in or repeated."""
    json_body = b'{"inputs": [[[1, 2], [3, 4]], [[5, 6], [7, 8]], [[9, 10], [11, 255]]]}'
    body = bytearray(draw(st.one_of(valid_npy, st.just(json_body))))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, max(len(body) - 1, 0)))
        match draw(st.integers(0, 3)):
            case 0:
                body[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
            case 1:
                del body[at : at + draw(st.integers(1, 20))]
            case 2:
                body[at:at] = draw(st.binary(max_size=20))
            case 3:
                body += body[at : at + 50] * draw(st.integers(1, 5))
    return bytes(body)


def check_bodies(client: httpx.Client, number: int) -> None:
    answered = []

    @settings(max_examples=number, **QUIET)
    @given(
        body=st.one_of(damaged(), st.binary(max_size=300), st.text(max_size=100).map(str.encode)),
        kind=st.sampled_from(["application/json", "application/x-npy"]),
    )
    def send(body: bytes, kind: str) -> None:
        answer = client.post("/predict", content=body, headers={"content-type": kind})
        assert answer.status_code in (200, 400, 413, 422), answer.text
        assert set(answer.json()) in ({"error"}, {"q_values", "action", "action_name"})
        assert not LEAK.search(answer.text)
        answered.append(answer.status_code)

    send()
    assert len(answered) >= number
    assert {400, 422} <= set(answered)
    right = npy(np.zeros((3, 2, 2), np.uint8))
    answer = client.post("/predict", content=right, headers={"content-type": "application/x-npy"})
    assert answer.status_code == 200


def test_damaged_and_random_bodies_are_answered_or_refused(client):
    check_bodies(client, 300)


@pytest.mark.slow
def test_ten_thousand_damaged_and_random_bodies_are_answered_or_refused(client):
    check_bodies(client, 10_000)


def check_requests(server: str, number: int) -> None:
    """Random methods, targets and headers."""
    printable = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=60)
    names = st.text(st.characters(whitelist_categories=("Lu", "Ll"), max_codepoint=127), min_size=1)

    @settings(max_examples=number, **QUIET)
    @given(
        method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "X"]),
        path=st.one_of(printable, st.just("predict"), st.just("../../etc/passwd")),
        headers=st.dictionaries(names, printable.filter(bool), max_size=4),
        body=st.binary(max_size=100),
    )
    def send(method: str, path: str, headers: dict[str, str], body: bytes) -> None:
        try:
            request = client.build_request(method, f"{server}/x", headers=headers, content=body)
            request.url = request.url.copy_with(raw_path=b"/" + path.encode())
            answer = client.send(request)
        except (httpx.InvalidURL, httpx.TransportError, ValueError):
            return  # the client refuses to send it, or the server hung up on nonsense
        assert answer.status_code < 500, answer.text
        assert not LEAK.search(answer.text)

    with httpx.Client(timeout=60) as client:
        send()
        assert client.get(f"{server}/health").json()["status"] == "ok"


def test_random_methods_paths_and_headers_are_refused(server):
    check_requests(server, 150)


@pytest.mark.slow
def test_three_thousand_random_methods_paths_and_headers_are_refused(server):
    check_requests(server, 3_000)
