"""Secrets in what clients send that do not mask them themselves: configurations, and printed lines.

Pure. Names and formats are those of `core.masking`, which our own client applies before anything leaves its process.
"""

from dataclasses import replace

import orjson

from flashtrial.core.masking import masked_config, masked_text
from flashtrial.protocol.records import RecordKind
from flashtrial.server.ingest_body import ParsedBatch
from flashtrial.server.records import ChangeRecord, ConsoleRecord, StoredRecord

_WHERE = {RecordKind.CONFIG: "set", RecordKind.STATE: "config"}


def masked_batch(batch: ParsedBatch) -> ParsedBatch:
    """`batch` without its secrets: itself, where it has no records that may hold any."""
    if not any(isinstance(record, ChangeRecord | ConsoleRecord) for record in batch.records):
        return batch
    return replace(batch, records=tuple([_masked(record) for record in batch.records]))


def _masked(record: StoredRecord) -> StoredRecord:
    match record:
        case ConsoleRecord(text=text) if (shown := masked_text(text)) != text:
            return replace(record, text=shown)
        case ChangeRecord(kind=RecordKind.CONFIG | RecordKind.STATE as kind, body=body):
            return replace(record, body=_masked_body(body, _WHERE[kind]))
    return record


def _masked_body(body: bytes, field: str) -> bytes:
    fields = orjson.loads(body)
    config = fields.get(field)
    return orjson.dumps({**fields, field: masked_config(config)}) if config else body
