"""What somebody sends who means harm: bytes that no HTTP client would write, and values that no field expects."""

import json
import socket
from dataclasses import dataclass

# Each is what stands in a path or a query where a name should.
WAYS_OUT = {
    "raw": "../../../../../../etc/passwd",
    "encoded": "..%2f..%2f..%2f..%2f..%2fetc%2fpasswd",
    "encoded dots": "%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
    "encoded twice": "..%252f..%252f..%252fetc%252fpasswd",
    "back slashes": "..%5c..%5c..%5cetc%5cpasswd",
    "overlong UTF-8": "%c0%ae%c0%ae/%c0%ae%c0%ae/etc/passwd",
    "absolute": "/etc/passwd",
    "absolute, encoded": "%2fetc%2fpasswd",
    "ends in NUL": "..%2fkey%00.png",
    "NUL": "%00",
    "no UTF-8": "%ff%fe",
    "to the key": "..%2fkey",
    "long": "x" * 5000,
    "dots": "....//....//key",
}

SCRIPT = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>"

# What may stand in any field of a JSON body, whatever belongs there.
EVIL_VALUES: tuple[object, ...] = (
    None,
    True,
    -1,
    2**63,
    2**64,
    10**400,
    1.5,
    1e308,
    float("nan"),
    float("-inf"),
    "",
    "\0",
    "../../key",
    SCRIPT,
    "x" * 2000,
    "NaN",
    "\ud800",
    "2" * 30,
    "\u0663\u00b2",  # digits to Python, no numbers to us
    [],
    [[]],
    [None],
    [1],
    ["x"],
    [{"a": 1}],
    {},
    {"a": {}},
)

# Whole bodies that say they are JSON.
EVIL_BODIES: dict[str, bytes] = {
    "nothing": b"",
    "half": b'{"a": ',
    "10,000 lists deep": b"[" * 10_000 + b"]" * 10_000,
    "10,000 maps deep": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "an unfinished list, deep": b"[" * 100_000,
    "a list": b"[]",
    "null": b"null",
    "a number": b"1",
    "a huge integer": b'{"runId": ' + b"9" * 5000 + b"}",
    "a key twice": b'{"run_id": "a", "run_id": "b", "runId": 1, "runId": 2}',
    "a lone surrogate": b'{"run_id": "\\ud800", "runId": "\\udfff"}',
    "NaN": b'{"run_id": NaN, "runId": Infinity, "step": -Infinity}',
    "no UTF-8": b'{"run_id": "\xff\xfe"}',
    "NUL": b"\0" * 100,
    "UTF-16": '{"run_id": "x"}'.encode("utf-16"),
    "msgpack": b"\xdf\xff\xff\xff\xff",
    "pickle": b"\x80\x04\x95\x05\x00\x00\x00\x00\x00\x00\x00\x8c\x01x\x94.",
}


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """All that came back until the connection was quiet or closed."""

    bytes: bytes

    @property
    def status(self) -> int:
        """0 when nothing came: the connection was closed."""
        return int(self.bytes[9:12]) if self.bytes.startswith(b"HTTP/1.1 ") else 0

    @property
    def answers(self) -> int:
        """How many answers there are; one that a smuggled request got is one too many."""
        return self.bytes.count(b"HTTP/1.1 ")

    @property
    def head(self) -> str:
        return self.bytes.partition(b"\r\n\r\n")[0].decode("latin-1").lower()


def exchange(port: int, sent: bytes, *, timeout_s: float = 20.0) -> RawAnswer:
    """What the server at `port` of this machine answers to these bytes until it closes the connection."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as connection:
        try:
            connection.sendall(sent)
            while chunk := connection.recv(65536):
                received += chunk
        except ConnectionError:  # cut off while we send: what came until then counts
            pass
    return RawAnswer(received)


def head(method: str, target: str, *lines: str, host: str = "127.0.0.1") -> bytes:
    """The head of a request after which the server closes the connection; `target` goes as it is."""
    return "\r\n".join([f"{method} {target} HTTP/1.1", f"Host: {host}", "Connection: close", *lines, "", ""]).encode(
        "latin-1"
    )


def as_json(value: object) -> bytes:
    """`value` as careless clients write it: NaN bare, lone surrogates as escapes, integers of any size."""
    return json.dumps(value).encode()
