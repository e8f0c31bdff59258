"""Messages inside Flower's records: one field of bytes, which Flower carries without looking inside."""

from __future__ import annotations

from flwr.app import ConfigRecord, RecordDict

_RECORD, _FIELD = "cohortmix", "message"


def to_records(data: bytes) -> RecordDict:
    """Wrap an encoded message."""
    return RecordDict({_RECORD: ConfigRecord({_FIELD: data})})


def from_records(records: RecordDict) -> bytes:
    """The encoded message; MessageError if there is none in the records."""
    record = records.get(_RECORD)
    data = record.get(_FIELD) if isinstance(record, ConfigRecord) else None
    if not isinstance(data, bytes):
        # Imported here: a relay starts anew for every message, and this brings in what half a second goes into.
        from cohortmix.protocol.messages import MessageError

        raise MessageError(f"expected bytes in record {_RECORD!r}, field {_FIELD!r}, got none")
    return data
