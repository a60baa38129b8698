"""Secrets in what clients send that do not mask them themselves: configurations, tags, printed lines, reasons, alerts.

Pure. Names and formats are those of `core.masking`, which our own client applies before anything leaves its process.
"""

from dataclasses import replace
from typing import Any

import orjson

from flashtrial.core.masking import masked_config, masked_text
from flashtrial.protocol.records import RecordKind
from flashtrial.server.ingest_body import ParsedBatch
from flashtrial.server.records import ChangeRecord, ConsoleRecord, DocumentRecord, StoredRecord
from flashtrial.server.storage.heartbeats import WriterSight

_CONFIG = {RecordKind.CONFIG: "set", RecordKind.STATE: "config"}
_TAGS = ("tags", "add", "remove")
_ALERT = b'"type":"alert"'


def masked_batch(batch: ParsedBatch) -> ParsedBatch:
    """`batch` without its secrets: itself, where it has no records that may hold any."""
    if not any(isinstance(record, ChangeRecord | ConsoleRecord | DocumentRecord) for record in batch.records):
        return batch
    return replace(batch, records=tuple([_masked(record) for record in batch.records]))


def masked_sight(sight: WriterSight) -> WriterSight:
    """`sight` with a reason without secrets."""
    return sight if sight.reason is None else replace(sight, reason=masked_text(sight.reason))


def _masked(record: StoredRecord) -> StoredRecord:
    match record:
        case ConsoleRecord(text=text) if (shown := masked_text(text)) != text:
            return replace(record, text=shown)
        case ChangeRecord(kind=kind, body=body):
            return replace(record, body=_masked_change(body, _CONFIG.get(kind, "")))
        case DocumentRecord(name="alert", body=body) if _ALERT in body:
            return replace(record, body=_masked_alert(body))
    return record


def _masked_change(body: bytes, field: str) -> bytes:
    fields = orjson.loads(body)
    config, reason = fields.get(field), fields.get("reason")
    news: dict[str, Any] = {field: masked_config(config)} if config else {}
    news |= {name: [masked_text(tag) for tag in fields[name]] for name in _TAGS if fields.get(name)}
    if reason:
        news["reason"] = masked_text(reason)
    return orjson.dumps({**fields, **news}) if news else body


def _masked_alert(body: bytes) -> bytes:
    """The texts of an alert masked; it says nothing under a name of its own."""
    fields = orjson.loads(body)
    value = fields.get("value")
    return orjson.dumps({**fields, "value": masked_config(value)}) if isinstance(value, dict) else body
