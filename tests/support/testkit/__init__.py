"""What tests of every package share; on the path through ``pythonpath`` in pyproject.toml."""

from testkit.ports import free_port
from testkit.waiting import wait_until, wait_until_async

__all__ = ["free_port", "wait_until", "wait_until_async"]
