"""When a request is sent again, and after how long: without a server and without sleeping."""

import asyncio
import json
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import httpx
import pytest

from gavel_client import (
    AsyncGavel,
    ConnectionFailed,
    DeadlineExceeded,
    Gavel,
    RateLimited,
    Retry,
    TimedOut,
    Unavailable,
    UnexpectedAnswer,
)
from gavel_client._retry import retry_after

BODY = json.dumps({"object": "rewards", "rewards": [0.5], "errors": [None]})


def refused(status: int, code: str, asked: str | None = None) -> httpx.Response:
    problem = {
        "type": "x",
        "title": "No",
        "status": status,
        "code": code,
        "detail": "Later.",
        "request_id": "req_1",
    }
    return httpx.Response(status, json=problem, headers={"Retry-After": asked} if asked else {})


def answers(
    *responses: httpx.Response | Exception,
) -> tuple[Callable[[httpx.Request], httpx.Response], list[httpx.Request]]:
    """A server that gives these answers, one a request, and what it was asked."""
    requests: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        response = responses[len(requests) - 1]
        if isinstance(response, Exception):
            raise response
        return response

    return answer, requests


def ask(*responses: httpx.Response | Exception, retry: Retry | None = None) -> tuple[list[float], int]:
    """How long it waited, and how often it asked, until it had a reward."""
    handler, requests = answers(*responses)
    waits: list[float] = []
    transport = httpx.MockTransport(handler)
    with Gavel("http://gavel", retry=retry, transport=transport, sleep=waits.append) as gavel:
        assert gavel.rewards([], rubric="helpfulness").rewards == [0.5]
    return waits, len(requests)


def test_what_is_refused_for_the_moment_is_sent_again() -> None:
    ok = httpx.Response(200, text=BODY)
    waits, asked = ask(
        refused(503, "saturated", "2"), refused(429, "rate_limited", "1"), refused(502, "engine_failed"), ok
    )
    assert asked == 4
    assert 2.0 <= waits[0] <= 2.5
    assert 1.0 <= waits[1] <= 1.5
    assert 0.0 <= waits[2] <= 2.0
    waits, asked = ask(httpx.ConnectError("refused"), httpx.RemoteProtocolError("closed"), ok)
    assert asked == 3
    waits, asked = ask(httpx.ConnectTimeout("nobody"), ok)
    assert asked == 2


def test_waits_grow_and_are_bounded() -> None:
    retry = Retry(retries=50, base=1.0, longest=8.0)
    for attempt in range(50):
        wait = retry.wait(attempt)
        assert wait is not None
        assert 0.0 <= wait <= min(8.0, 2.0**attempt)
    assert retry.wait(50) is None
    assert retry.wait(0, 8.5) is None, "it is asked to wait longer than it is willing to"


def test_it_gives_up() -> None:
    with pytest.raises(Unavailable) as given_up:
        ask(*[refused(503, "model_loading", "1")] * 3, retry=Retry(retries=2))
    assert (given_up.value.code, given_up.value.request_id) == ("model_loading", "req_1")
    with pytest.raises(RateLimited):
        ask(refused(429, "rate_limited", "3600"))
    with pytest.raises(ConnectionFailed):
        ask(*[httpx.ConnectError("refused")] * 2, retry=Retry(retries=1))
    with pytest.raises(TimedOut):
        ask(*[httpx.ConnectTimeout("nobody")] * 2, retry=Retry(retries=1))


def test_what_would_fail_again_is_not_sent_again() -> None:
    with pytest.raises(DeadlineExceeded, match="deadline_exceeded"):
        ask(refused(504, "deadline_exceeded"))
    with pytest.raises(TimedOut, match="ReadTimeout"):
        ask(httpx.ReadTimeout("slow"))
    with pytest.raises(UnexpectedAnswer):
        ask(httpx.Response(200, text="<html>"))


def test_an_error_that_is_no_problem_says_what_it_is() -> None:
    with pytest.raises(Unavailable, match="upstream connect error"):
        ask(httpx.Response(503, text="upstream connect error"), retry=Retry(retries=0))


def test_retry_after_is_seconds_or_a_date() -> None:
    def read(value: str) -> float | None:
        return retry_after(httpx.Response(503, headers={"Retry-After": value}))

    assert read("7") == 7.0
    assert read("soon") is None
    assert read("") is None
    later = read(format_datetime(datetime.now(timezone.utc) + timedelta(seconds=60)))
    assert later is not None
    assert 50.0 < later <= 60.0
    assert read(format_datetime(datetime.now(timezone.utc) - timedelta(seconds=60))) == 0.0


def test_the_key_is_sent() -> None:
    handler, requests = answers(httpx.Response(200, text=BODY))
    with Gavel("http://gavel", api_key="secret", transport=httpx.MockTransport(handler)) as gavel:
        gavel.rewards([], rubric="helpfulness")
    assert requests[0].headers["authorization"] == "Bearer secret"


def test_the_key_of_the_environment_is_sent_unless_another_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAVEL_API_KEY", "of-all")
    for given, sent in [(None, "Bearer of-all"), ("own", "Bearer own"), ("", None)]:
        handler, requests = answers(httpx.Response(200, text=BODY))
        with Gavel("http://gavel", api_key=given, transport=httpx.MockTransport(handler)) as gavel:
            gavel.rewards([], rubric="helpfulness")
        assert requests[0].headers.get("authorization") == sent


def test_the_client_waits_longer_than_the_server_may_take() -> None:
    handler, requests = answers(httpx.Response(200, text=BODY))
    with Gavel("http://gavel", timeout=2.5, transport=httpx.MockTransport(handler)) as gavel:
        gavel.rewards([], rubric="helpfulness")
    assert requests[0].headers["x-request-timeout-ms"] == "2500"
    limits = requests[0].extensions["timeout"]
    assert limits["read"] > 2.5
    assert limits["connect"] <= 2.5
    assert limits["pool"] is None
    with pytest.raises(ValueError, match="above 0"):
        Gavel("http://gavel", timeout=0)


def test_streams_are_retried_until_they_begin() -> None:
    events = 'event: feedback\ndata: {"sample": 0, "delta": "Hm."}\n\n'
    handler, requests = answers(refused(503, "saturated", "1"), httpx.Response(200, text=events))
    waits: list[float] = []
    with Gavel("http://gavel", transport=httpx.MockTransport(handler), sleep=waits.append) as gavel:
        stream = gavel.stream_absolute(instruction="Hi.", response="Hello.", rubric="helpfulness")
        assert next(stream).model_dump()["delta"] == "Hm."
        with pytest.raises(UnexpectedAnswer, match="without a verdict"):
            next(stream)
    assert (len(waits), len(requests)) == (1, 2)
    assert requests[1].headers["accept"] == "text/event-stream"


def test_an_error_in_a_stream_is_raised() -> None:
    problem = refused(502, "engine_failed").text
    handler, _ = answers(httpx.Response(200, text=f"event: error\ndata: {problem}\n\n"))
    with (
        Gavel("http://gavel", transport=httpx.MockTransport(handler)) as gavel,
        pytest.raises(Exception, match="engine_failed"),
    ):
        list(gavel.stream_absolute(instruction="Hi.", response="Hello.", rubric="helpfulness"))


def test_asynchronous_calls_wait_alike() -> None:
    handler, requests = answers(refused(503, "saturated", "2"), httpx.Response(200, text=BODY))
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    async def rewards() -> list[float | None]:
        async with AsyncGavel("http://gavel", transport=httpx.MockTransport(handler), sleep=sleep) as gavel:
            return (await gavel.rewards([], rubric="helpfulness")).rewards

    assert asyncio.run(rewards()) == [0.5]
    assert len(requests) == 2
    assert 2.0 <= waits[0] <= 2.5
