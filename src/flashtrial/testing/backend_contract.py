"""What every destination of records must do, as tests that a subclass runs against its own."""

import abc
import math
from collections.abc import Sequence

from flashtrial.protocol.records import Batch, encode_record
from flashtrial.tracking.backends.base import Backend, BatchReceipt

RUN, WRITER = "run_contract", "wr_contract"


def batch(*seqs: int, writer_id: str = WRITER) -> Batch:
    """One metric record for each sequence number."""
    frames = (encode_record(seq, "metric", 1_000 + seq, {"step": seq, "values": {"loss": math.nan}}) for seq in seqs)
    return Batch(RUN, writer_id, b"".join(frames))


class BackendContract(abc.ABC):
    """Subclass it in a test module, name the class ``Test…``, and give it the backend under test."""

    @abc.abstractmethod
    def backend(self) -> Backend:
        """The backend under test, the same within one test, its destination empty at the test's start."""

    @abc.abstractmethod
    def stored_seqs(self, writer_id: str) -> Sequence[int]:
        """The sequence numbers that the destination holds of a writer of run `RUN`, ascending."""

    def test_everything_sent_is_stored_and_counted(self) -> None:
        assert self.backend().send([batch(1, 2, 3)]) == (BatchReceipt(stored=3),)
        assert list(self.stored_seqs(WRITER)) == [1, 2, 3]

    def test_sending_again_changes_nothing(self) -> None:
        self.backend().send([batch(1, 2)])
        assert self.backend().send([batch(1, 2, 3)]) == (BatchReceipt(stored=1, duplicates=2),)
        assert list(self.stored_seqs(WRITER)) == [1, 2, 3]

    def test_receipts_come_in_the_order_of_the_batches(self) -> None:
        receipts = self.backend().send([batch(1), batch(1, 2, writer_id="wr_other")])
        assert [receipt.stored for receipt in receipts] == [1, 2]

    def test_records_may_come_out_of_order(self) -> None:
        self.backend().send([batch(3, 1)])
        self.backend().send([batch(2)])
        assert list(self.stored_seqs(WRITER)) == [1, 2, 3]

    def test_a_damaged_batch_leaves_its_neighbour_alone(self) -> None:
        whole = batch(1)
        torn = Batch(RUN, "wr_torn", whole.frames[:-1] + bytes([whole.frames[-1] ^ 255]))
        damaged, stored = self.backend().send([torn, whole])
        assert damaged.error
        assert stored == BatchReceipt(stored=1)
