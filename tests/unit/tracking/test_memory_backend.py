"""The fake destination keeps the contract that the real one keeps."""

import pytest

from flashtrial.testing.backend_contract import BackendContract
from flashtrial.testing.tracking_backend import MemoryBackend


class TestMemoryBackend(BackendContract):
    @pytest.fixture(autouse=True)
    def _make(self) -> None:
        self._backend = MemoryBackend()

    def backend(self) -> MemoryBackend:
        return self._backend

    def stored_seqs(self, writer_id: str) -> list[int]:
        return sorted(seq for _, writer, seq in self._backend.stored if writer == writer_id)
