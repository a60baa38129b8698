"""What a server's answer means: receipts, a rejection, or an outage that says nothing about the records."""

import io
import json
from typing import Any

import pytest
import urllib3

from flashtrial.tracking.backends.answers import retry_after_s
from flashtrial.tracking.backends.base import BatchReceipt, Outage, RefusedRecord, Rejected
from flashtrial.tracking.backends.native import MAX_ANSWER_BYTES, read_answer
from flashtrial.tracking.settings.address import Address

AT = Address("http://u", "token-of-the-user")


def answer(status: int, body: bytes | object, **headers: str) -> urllib3.HTTPResponse:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return urllib3.HTTPResponse(body=io.BytesIO(content), status=status, headers=headers, preload_content=False)


def receipt(**fields: Any) -> dict[str, Any]:
    return {"run_id": "r", "writer_id": "w", "stored": 0, "duplicates": 0, "refused": [], **fields}


def test_receipts_are_read_in_order() -> None:
    body = {"results": [receipt(stored=2, refused=[{"seq": 3, "reason": "bad"}]), receipt(error="torn")]}
    first, second = read_answer(AT, 2, answer(200, body))
    assert first == BatchReceipt(2, 0, (RefusedRecord(3, "bad"),))
    assert second.error == "torn"


@pytest.mark.parametrize("status", [400, 413, 422])
def test_our_servers_refusal_of_a_request_is_a_rejection_with_its_reason(status: int) -> None:
    with pytest.raises(Rejected, match="too much") as caught:
        read_answer(AT, 1, answer(status, {"error": "slug", "message": "too much"}))
    assert caught.value.is_certain


def test_a_proxy_that_takes_less_at_once_is_asked_for_less_and_judges_no_record() -> None:
    with pytest.raises(Rejected) as caught:
        read_answer(AT, 1, answer(413, b"<html>Request Entity Too Large</html>"))
    assert not caught.value.is_certain


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"<html>welcome</html>"),
        (200, {"hello": "world"}),
        (200, {"results": []}),
        (200, {"results": [{"stored": "many"}]}),
        (200, {"results": [receipt(refused=["?"])]}),
        (400, b"<html>bad request</html>"),
        (400, {"detail": "another program's error"}),
        (422, {"error": "another program's error"}),
        (404, {"detail": "Not Found"}),
        (302, b""),
        (401, {"error": "who?"}),
        (403, b"no"),
        (425, b""),
        (429, b""),
        (500, {"error": "oops"}),
        (503, b""),
    ],
)
def test_every_other_answer_is_an_outage(status: int, body: bytes | object) -> None:
    with pytest.raises(Outage):
        read_answer(AT, 1, answer(status, body))


def test_an_outage_carries_what_the_server_asked_for() -> None:
    with pytest.raises(Outage) as caught:
        read_answer(AT, 1, answer(429, b"", **{"Retry-After": "7"}))
    assert caught.value.retry_after_s == 7


def test_a_refused_token_says_so() -> None:
    with pytest.raises(Outage, match="FLASHTRIAL_TOKEN"):
        read_answer(AT, 1, answer(401, b""))


def test_a_refused_host_name_is_not_called_a_refused_token() -> None:
    with pytest.raises(Outage, match="does not serve that host name") as caught:
        read_answer(AT, 1, answer(403, {"error": "forbidden", "message": "this server does not serve that host name"}))
    assert "TOKEN" not in str(caught.value)


@pytest.mark.parametrize("status", [400, 401, 403, 500])
def test_a_token_that_an_answer_repeats_is_in_no_text(status: int) -> None:
    said = {"error": "slug", "message": "token-of-the-user is no good"}
    with pytest.raises((Outage, Rejected)) as caught:
        read_answer(AT, 1, answer(status, said))
    assert "token-of" not in str(caught.value)
    assert status == 401 or "*** is no good" in str(caught.value)


def test_a_token_that_a_receipt_repeats_is_on_no_list_of_the_dead() -> None:
    body = {
        "results": [
            receipt(refused=[{"seq": 3, "reason": "not token-of-the-user"}]),
            receipt(error="token-of-the-user"),
        ]
    }
    first, second = read_answer(AT, 2, answer(200, body))
    assert (first.refused[0].reason, second.error) == ("not ***", "***")


def test_a_redirection_says_where_to() -> None:
    with pytest.raises(Outage, match="points to https://u/login; if that is the server, set FLASHTRIAL_URL"):
        read_answer(AT, 1, answer(302, b"", Location="https://u/login?next=secret"))


def test_an_answer_larger_than_any_receipt_is_an_outage() -> None:
    with pytest.raises(Outage, match="without coming to an end"):
        read_answer(AT, 1, answer(200, b" " * (MAX_ANSWER_BYTES + 1)))


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("12", 12.0),
        ("999999", 3600.0),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 40.0),
        ("Thu, 01 Jan 1970 00:00:10 GMT", 0.0),
        ("Thu, 01 Jan 99999999999 00:00:00 GMT", None),
        ("Thu, 01 Jan 1970 00:00:10 +99999999999999", None),
    ],
)
def test_retry_after_is_a_number_or_a_date(header: str | None, seconds: float | None) -> None:
    assert retry_after_s(header, now=lambda: 60.0) == seconds
