"""The store keeps the first message under a key, durably, and belongs to one study."""

import pytest

from cohortmix.server.store import Publication, RefusalEntry, Store

STUDY = "a" * 64


def test_everything_is_there_after_a_restart(tmp_path):
    with Store(tmp_path / "study.db", STUDY) as store:
        store.keep_request("ITAL", 1, b"request")
        store.keep_reply("ITAL", 1, "receipt", b"reply")
        store.keep_refusal(RefusalEntry("POLA", 1, "NOT_APPROVED", "no"))
        store.keep_common(b"common")
        store.keep_moment("round 1", 5.5)
        store.keep_run("17")
        store.keep_publication(Publication(store.receipts(), "out"))
    with Store(tmp_path / "study.db", STUDY) as store:
        assert store.requests(1) == {"ITAL": b"request"}
        assert store.replies(1) == {"ITAL": b"reply"}
        assert store.replies(2) == {}
        assert store.refusals() == (RefusalEntry("POLA", 1, "NOT_APPROVED", "no"),)
        assert store.common() == b"common"
        assert (store.moment("round 1"), store.moment("round 2"), store.run()) == (5.5, None, "17")
        assert store.publication() == Publication(store.receipts(), "out")


def test_a_new_study_has_nothing():
    with Store(":memory:", STUDY) as store:
        assert (store.requests(1), store.replies(1), store.refusals(), store.common()) == ({}, {}, (), None)
        assert (store.moment("round 1"), store.run(), store.publication()) == (None, None, None)


def test_the_first_request_and_the_first_common_facts_stay():
    with Store(":memory:", STUDY) as store:
        assert store.keep_request("ITAL", 1, b"first") == b"first"
        assert store.keep_request("ITAL", 1, b"second") == b"first"
        assert store.keep_common(b"first") == b"first"
        assert store.keep_common(b"second") == b"first"


def test_the_first_moment_stays_and_the_last_run_and_publication_count():
    with Store(":memory:", STUDY) as store:
        assert [store.keep_moment("round 1", at) for at in (5.0, 9.0, 1.0)] == [5.0, 5.0, 5.0]
        for name in ("1", "2"):
            store.keep_run(name)
            store.keep_publication(Publication(name, "out"))
        assert (store.run(), store.publication()) == ("2", Publication("2", "out"))


def test_the_hash_of_the_receipts_follows_from_them_and_not_from_their_order():
    with Store(":memory:", STUDY) as one, Store(":memory:", STUDY) as other:
        for site in "ab":
            one.keep_reply(site, 1, f"receipt {site}", b"reply")
        other.keep_reply("b", 1, "receipt b", b"reply")
        assert one.receipts() != other.receipts()
        other.keep_reply("a", 1, "receipt a", b"reply")
        assert one.receipts() == other.receipts()


def test_a_refusal_that_only_repeats_itself_is_noted_once():
    entries = [RefusalEntry(site, 1, code, "no") for site, code in ("aX", "aX", "bX", "aX", "aY", "aX")]
    with Store(":memory:", STUDY) as store:
        for entry in entries:
            store.keep_refusal(entry)
        assert [(each.site, each.code) for each in store.refusals()] == [*map(tuple, ("aX", "bX", "aY", "aX"))]


def test_a_reply_counts_once_per_round():
    with Store(":memory:", STUDY) as store:
        assert store.keep_reply("ITAL", 1, "receipt", b"reply")
        assert not store.keep_reply("ITAL", 1, "receipt", b"reply")
        assert not store.keep_reply("ITAL", 1, "another receipt", b"another")
        assert store.keep_reply("ITAL", 2, "second receipt", b"reply 2")
        assert store.replies(1) == {"ITAL": b"reply"}


def test_a_store_of_another_study_is_refused(tmp_path):
    Store(tmp_path / "study.db", STUDY).close()
    with pytest.raises(ValueError, match="one file per study"):
        Store(tmp_path / "study.db", "b" * 64)


def test_another_file_is_refused_with_a_sentence(tmp_path):
    (tmp_path / "study.db").write_text("not a database, but long enough to be read as the head of one\n" * 20)
    with pytest.raises(
        ValueError, match=r"the study's store .*: file is not a database; put the newest"
    ):
        Store(tmp_path / "study.db", STUDY)
