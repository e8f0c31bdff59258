"""The store keeps the first message under a key, durably, and belongs to one study."""

import pytest

from cohortmix.server.store import RefusalEntry, Store

STUDY = "a" * 64


def test_everything_is_there_after_a_restart(tmp_path):
    with Store(tmp_path / "study.sqlite", STUDY) as store:
        store.keep_request("ITAL", 1, "id", "hash", b"request")
        store.keep_reply("ITAL", 1, "receipt", b"reply")
        store.keep_refusal(RefusalEntry("POLA", 1, "NOT_APPROVED", "no"))
        store.keep_common(b"common")
    with Store(tmp_path / "study.sqlite", STUDY) as store:
        assert store.requests(1) == {"ITAL": b"request"}
        assert store.replies(1) == {"ITAL": b"reply"}
        assert store.replies(2) == {}
        assert store.refusals() == (RefusalEntry("POLA", 1, "NOT_APPROVED", "no"),)
        assert store.common() == b"common"


def test_a_new_study_has_nothing():
    with Store(":memory:", STUDY) as store:
        assert (store.requests(1), store.replies(1), store.refusals(), store.common()) == ({}, {}, (), None)


def test_the_first_request_and_the_first_common_facts_stay():
    with Store(":memory:", STUDY) as store:
        assert store.keep_request("ITAL", 1, "id", "hash", b"first") == b"first"
        assert store.keep_request("ITAL", 1, "id", "hash", b"second") == b"first"
        assert store.keep_common(b"first") == b"first"
        assert store.keep_common(b"second") == b"first"


def test_a_reply_counts_once_per_receipt_and_once_per_round():
    with Store(":memory:", STUDY) as store:
        assert store.keep_reply("ITAL", 1, "receipt", b"reply")
        assert not store.keep_reply("ITAL", 1, "receipt", b"reply")
        assert not store.keep_reply("ITAL", 1, "another receipt", b"another")
        assert not store.keep_reply("POLA", 1, "receipt", b"copied")
        assert store.keep_reply("ITAL", 2, "second receipt", b"reply 2")
        assert store.replies(1) == {"ITAL": b"reply"}


def test_a_store_of_another_study_is_refused(tmp_path):
    Store(tmp_path / "study.sqlite", STUDY).close()
    with pytest.raises(ValueError, match="one file per study"):
        Store(tmp_path / "study.sqlite", "b" * 64)


def test_another_file_is_refused_with_a_sentence(tmp_path):
    (tmp_path / "study.sqlite").write_text("not a database, but long enough to be read as the head of one\n" * 20)
    with pytest.raises(ValueError, match="not a study's store"):
        Store(tmp_path / "study.sqlite", STUDY)
