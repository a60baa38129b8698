"""Leases of names on the network volume, as the outbox uses them too: see `flashtrial.core.lease`."""

from flashtrial.core.lease import Lease, LeaseLost

__all__ = ["Lease", "LeaseLost"]
