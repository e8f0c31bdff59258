"""The store keeps the first message under a key, durably, and belongs to one study."""

from contextlib import suppress
from pathlib import Path

import pytest

from cohortmix.core.data.table import InputError
from cohortmix.server.store import MOST_REFUSALS, Publication, RefusalEntry, Store

STUDY = "a" * 64


def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    with Store(tmp_path / "study.db", STUDY) as store:
        store.keep_request("ITAL", 1, b"request")
        store.keep_reply("ITAL", 1, "receipt", b"reply")
        store.keep_refusal(RefusalEntry("POLA", 1, "NOT_APPROVED", "no"))
        store.keep_common(b"common")
        store.keep_moment("round 1", 5.5)
        store.keep_run("17")
        store.keep_publication(Publication(store.receipts(), "out"))
    with Store(tmp_path / "study.db", STUDY) as store:
        assert (store.request("ITAL", 1), store.request("ITAL", 2)) == (b"request", None)
        assert (store.receipt("ITAL", 1), store.receipt("ITAL", 2)) == ("receipt", None)
        assert store.replies(1) == {"ITAL": b"reply"}
        assert store.replies(2) == {}
        assert store.refusals() == (RefusalEntry("POLA", 1, "NOT_APPROVED", "no"),)
        assert store.common() == b"common"
        assert (store.moment("round 1"), store.moment("round 2"), store.run()) == (5.5, None, "17")
        assert store.publication() == Publication(store.receipts(), "out")


def test_a_new_study_has_nothing() -> None:
    with Store(":memory:", STUDY) as store:
        assert (store.request("ITAL", 1), store.receipt("ITAL", 1)) == (None, None)
        assert (store.replies(1), store.refusals(), store.common()) == ({}, (), None)
        assert (store.moment("round 1"), store.run(), store.publication()) == (None, None, None)


def test_the_first_request_and_the_first_common_facts_stay() -> None:
    with Store(":memory:", STUDY) as store:
        assert store.keep_request("ITAL", 1, b"first") == b"first"
        assert store.keep_request("ITAL", 1, b"second") == b"first"
        assert store.keep_common(b"first") == b"first"
        assert store.keep_common(b"second") == b"first"


def test_the_first_moment_stays_and_the_last_run_and_publication_count() -> None:
    with Store(":memory:", STUDY) as store:
        assert [store.keep_moment("round 1", at) for at in (5.0, 9.0, 1.0)] == [5.0, 5.0, 5.0]
        for name in ("1", "2"):
            store.keep_run(name)
            store.keep_publication(Publication(name, "out"))
        assert (store.run(), store.publication()) == ("2", Publication("2", "out"))


def test_the_hash_of_the_receipts_follows_from_them_and_not_from_their_order() -> None:
    with Store(":memory:", STUDY) as one, Store(":memory:", STUDY) as other:
        for site in "ab":
            one.keep_reply(site, 1, f"receipt {site}", b"reply")
        other.keep_reply("b", 1, "receipt b", b"reply")
        assert one.receipts() != other.receipts()
        other.keep_reply("a", 1, "receipt a", b"reply")
        assert one.receipts() == other.receipts()


def test_refusals_that_anybody_can_write_are_kept_up_to_a_few(tmp_path: Path) -> None:
    """By site, round and code; the last one is known beyond that, and what a site has signed is kept, once."""
    path = tmp_path / "study.db"
    with Store(path, STUDY) as store:
        for number in range(50):
            for site, code in (("a", "UNAVAILABLE"), ("a", "NOT_ACCEPTED"), ("b", "UNAVAILABLE")):
                store.keep_refusal(RefusalEntry(site, 1, code, f"no, {number}"))
        for _ in range(3):
            store.keep_refusal(RefusalEntry("a", 1, "NOT_ACCEPTED", "two releases"), signed=True)
            store.keep_refusal(RefusalEntry("a", 2, "UNAVAILABLE", "round 2"))
        steps = store._journal.place.steps
        assert steps == 1 + 3 * MOST_REFUSALS + 2
        last = {entry.site: entry.sentence for entry in store.refusals()}
        assert last == {"a": "round 2", "b": "no, 49"}
    with Store(path, STUDY) as store:
        assert len(store.refusals()) == steps - 1
        assert RefusalEntry("a", 1, "NOT_ACCEPTED", "two releases") in store.refusals()


def test_a_refusal_that_only_repeats_itself_is_noted_once() -> None:
    entries = [RefusalEntry(site, 1, code, "no") for site, code in ("aX", "aX", "bX", "aX", "aY", "aX")]
    with Store(":memory:", STUDY) as store:
        for entry in entries:
            store.keep_refusal(entry)
        assert [(each.site, each.code) for each in store.refusals()] == [*map(tuple, ("aX", "bX", "aY", "aX"))]


def test_a_reply_counts_once_per_round() -> None:
    with Store(":memory:", STUDY) as store:
        assert store.keep_reply("ITAL", 1, "receipt", b"reply")
        assert not store.keep_reply("ITAL", 1, "receipt", b"reply")
        assert not store.keep_reply("ITAL", 1, "another receipt", b"another")
        assert store.keep_reply("ITAL", 2, "second receipt", b"reply 2")
        assert store.replies(1) == {"ITAL": b"reply"}


def test_a_store_of_another_study_is_refused(tmp_path: Path) -> None:
    Store(tmp_path / "study.db", STUDY).close()
    with pytest.raises(ValueError, match="one file per study"):
        Store(tmp_path / "study.db", "b" * 64)


def test_another_file_is_refused_with_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "study.db").write_text("not a database, but long enough to be read as the head of one\n" * 20)
    with pytest.raises(ValueError, match=r"the study's store .*: file is not a database; put the newest"):
        Store(tmp_path / "study.db", STUDY)


def test_a_store_that_was_set_back_is_refused(tmp_path: Path) -> None:
    """An older copy is a good file; only the mark beside it knows that there was more."""
    file, mark = tmp_path / "study.db", tmp_path / "study.mark"
    with Store(file, STUDY) as store:
        store.keep_moment("round 1", 1.0)
    older = file.read_bytes()
    with Store(file, STUDY) as store:
        store.keep_reply("ITAL", 1, "receipt", b"reply")
    newest = file.read_bytes()
    file.write_bytes(older)
    with pytest.raises(InputError, match=r"was set back: it has 2 steps.*; put the newest study.db and"):
        Store(file, STUDY)
    file.unlink()
    with pytest.raises(InputError, match=r"was set back: it has 0 steps.*; if they are lost, remove both and run"):
        Store(file, STUDY)
    file.write_bytes(newest)
    with Store(file, STUDY) as store:
        assert store.answered(1) == {"ITAL"}
    file.unlink()
    mark.unlink()
    with Store(file, STUDY) as store:
        assert store.answered(1) == frozenset()


def test_what_is_kept_together_is_there_together_or_not_at_all(tmp_path: Path) -> None:
    with Store(tmp_path / "study.db", STUDY) as store:
        with suppress(KeyError), store.transaction():
            store.keep_request("ITAL", 1, b"lost")
            raise KeyError
        assert store.request("ITAL", 1) is None
        with store.transaction():
            assert store.keep_request("ITAL", 1, b"one") == b"one"
            assert store.keep_request("POLA", 1, b"two") == b"two"
    with Store(tmp_path / "study.db", STUDY) as store:
        assert (store.request("ITAL", 1), store.request("POLA", 1)) == (b"one", b"two")
