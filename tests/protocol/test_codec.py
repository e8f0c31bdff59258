"""Bytes through Flower's records and its own serialisation, and back."""

import pytest
from flwr.app import ConfigRecord, MetricRecord, RecordDict
from flwr.common.serde import recorddict_from_proto, recorddict_to_proto

from cohortmix.protocol.messages import MessageError
from cohortmix.protocol.transport.codec import from_records, to_records


@pytest.mark.parametrize("data", [b"", b"{}", bytes(range(256)) * 1000])
def test_round_trip(data: bytes) -> None:
    assert from_records(to_records(data)) == data


def test_round_trip_over_the_wire() -> None:
    data = bytes(range(256))
    assert from_records(recorddict_from_proto(recorddict_to_proto(to_records(data)))) == data


def test_other_records_are_refused() -> None:
    others = [
        RecordDict(),
        RecordDict({"cohortmix": MetricRecord({"message": 1})}),
        RecordDict({"cohortmix": ConfigRecord({"message": "text"})}),
        RecordDict({"cohortmix": ConfigRecord({"other": b"bytes"})}),
        RecordDict({"other": ConfigRecord({"message": b"bytes"})}),
    ]
    for records in others:
        with pytest.raises(MessageError, match="got none"):
            from_records(records)
