"""Faults of what is kept: journals, the store, published folders and the snapshot."""

from __future__ import annotations

from .fault import Fault

FAULTS = (
    Fault(
        "a ledger opens although an index of it hides rows",
        "protocol/storage/database.py",
        'if verdict != "ok":',
        "if not verdict:",
        ("tests/client/ledger/test_damage.py::test_an_index_that_hides_rows_is_not_believed",),
    ),
    Fault(
        "a ledger's decisions ask an index of the file",
        "protocol/storage/hash_chain.py",
        "            return [self._whole(number) for number in self._numbers.get(key, ())]",
        '            names = ("kind", "study", "id")[: len(key)]\n'
        '            where = " AND ".join(f"{name} = ?" for name in names)\n'
        '            query = f"SELECT {_COLUMNS} FROM steps WHERE {where} ORDER BY number"\n'
        "            return [Step(*row) for row in self._database.select(query, *key)]",
        ("tests/client/ledger/test_damage.py::test_an_index_that_hides_rows_is_not_believed",),
    ),
    Fault(
        "a release is read again from the ledger without its hash",
        "protocol/storage/hash_chain.py",
        "if row is None or row.hash != step.hash or not row.follows(before):",
        "if row is None:",
        ("tests/client/ledger/test_damage.py::test_a_release_that_changed_under_an_open_ledger_is_not_sent",),
    ),
    Fault(
        "a trigger that was slipped into an open ledger acts",
        "protocol/storage/database.py",
        '            self._connection.execute("BEGIN IMMEDIATE")\n            self._require_tables()\n',
        '            self._connection.execute("BEGIN IMMEDIATE")\n',
        ("tests/client/ledger/test_damage.py::test_what_does_not_belong_into_a_ledger_is_refused",),
    ),
    Fault(
        "a step counts before it is read back",
        "protocol/storage/hash_chain.py",
        "if self._read(step.number) != step:",
        "if not step.hash:",
        ("tests/client/ledger/test_reservation.py::test_a_step_is_read_back_before_it_counts",),
    ),
    Fault(
        "a step is written that cannot be read again",
        "client/ledger/journal.py",
        "same = type(message).model_validate_json(content) == message",
        "same = bool(content)",
        ("tests/client/ledger/test_reservation.py::test_a_step_that_could_not_be_read_again_is_not_written",),
    ),
    Fault(
        "a release is committed that no message can hold",
        "client/ledger/journal.py",
        "if len(content) > limit:",
        "if not content:",
        ("tests/client/ledger/test_reservation.py::test_a_release_that_no_message_can_hold_is_not_committed",),
    ),
    Fault(
        "a release is reserved that could not be sent",
        "client/site/site.py",
        "        require_room(plan, request.common, study.terms)\n",
        "",
        (
            "tests/client/site/test_site_refusals.py::test_a_release_that_could_not_be_sent_is_refused_before_it_is_paid_for",
        ),
    ),
    Fault(
        "a clock that is set back revives a study",
        "client/ledger/history.py",
        "return max([self.clock, *self._days()])",
        "return today()",
        ("tests/client/site/test_site_refusals.py::test_a_clock_that_is_set_back_revives_no_study",),
    ),
    Fault(
        "an expired study that was refused leaves no day",
        "client/site/site.py",
        "            self._ledger.keep_today()\n",
        "",
        (
            "tests/client/site/test_site_refusals.py::test_a_refusal_as_expired_is_kept_and_a_clock_set_back_revives_nothing",
        ),
    ),
    Fault(
        "days of a wrong clock count after it was corrected",
        "client/ledger/history.py",
        "if day is not None and step.number >= corrected}",
        "if day is not None and corrected >= 0}",
        ("tests/client/ledger/test_ledger_days.py::test_a_wrong_clock_is_corrected_by_a_signed_act",),
    ),
    Fault(
        "a corrected clock forgets the days that come after it",
        "client/ledger/history.py",
        "if day is not None and step.number >= corrected}",
        "if day is not None and not corrected}",
        ("tests/client/ledger/test_ledger_days.py::test_a_wrong_clock_is_corrected_by_a_signed_act",),
    ),
    Fault(
        "each refusal that anybody can write is a step of the store",
        "server/store.py",
        "len(alike) < MOST_REFUSALS",
        "len(alike) < 10**9",
        ("tests/server/test_store.py::test_refusals_that_anybody_can_write_are_kept_up_to_a_few",),
    ),
    Fault(
        "a store that was set back is read as far as it goes",
        "server/store.py",
        'mark = None if str(path) == ":memory:" else Path(path).with_suffix(".mark")',
        "mark = None",
        ("tests/server/test_store.py::test_a_store_that_was_set_back_is_refused",),
    ),
    Fault(
        "a release of the store counts without its site's signature",
        "server/kept.py",
        "        verify_signed(signed.signed_receipt, study)\n",
        "",
        ("tests/federation/test_damaged_store.py::test_a_release_counts_by_its_sites_signature",),
    ),
    Fault(
        "a release of the store counts whatever its receipt says of it",
        "server/kept.py",
        "if receipt.release_hash != signed.release.hash:",
        "if not receipt.release_hash:",
        ("tests/federation/test_damaged_store.py::test_a_release_counts_by_its_sites_signature",),
    ),
    Fault(
        "common facts of the store count without a signature",
        "server/kept.py",
        '        verify(study.coordinator_key, signed_bytes("common", signed.frozen), signed.signature)\n',
        "",
        ("tests/federation/test_damaged_store.py::test_common_facts_count_by_the_coordinators_signature",),
    ),
    Fault(
        "an earlier publication is put away before the new one takes its place",
        "protocol/local/folder.py",
        "    _exchange(new, out)\n    others",
        '    out.rename(new.parent / "old")\n    new.rename(out)\n    (new.parent / "old").rename(new)\n'
        "    others",
        ("tests/protocol/local/test_folder.py::test_killed_at_any_line_a_whole_folder_stands_there",),
    ),
    Fault(
        "what another run has written into OUT meanwhile is replaced",
        "protocol/local/folder.py",
        "    require_free(out, files)\n    if out.exists():",
        "    if out.exists():",
        ("tests/protocol/local/test_folder.py::test_what_another_run_has_written_meanwhile_stays",),
    ),
    Fault(
        "a folder that was exchanged goes, whatever came out",
        "protocol/local/folder.py",
        "    others = _others(new, files)\n    if others:",
        "    others = _others(new, files)\n    if others and not files:",
        ("tests/protocol/local/test_folder.py::test_a_file_that_is_put_into_an_earlier_result_is_never_removed",),
    ),
    Fault(
        "files that somebody puts into an earlier result go with it",
        "protocol/local/folder.py",
        "    try:\n        new.rmdir()\n",
        "    try:\n        shutil.rmtree(new)\n",
        ("tests/protocol/local/test_folder.py::test_a_file_that_is_put_into_an_earlier_result_is_never_removed",),
    ),
    Fault(
        "a link is written through, or replaced",
        "protocol/local/folder.py",
        "        if out.is_symlink():\n",
        '        if out.is_symlink() and not files and out.name == "":\n',
        ("tests/protocol/local/test_folder.py::test_a_link_is_refused_before_anything_is_written",),
    ),
    Fault(
        "a private folder becomes one that others read",
        "protocol/local/folder.py",
        "        _open_to_the_same(new, out)\n",
        "        pass\n",
        ("tests/protocol/local/test_folder.py::test_a_folder_stays_as_closed_as_it_was",),
    ),
    Fault(
        "a simulation replaces what was published while it ran",
        "deploy/simulation/simulation.py",
        "publish(result, drawn, summary, out, key, replace=replace)",
        "publish(result, drawn, summary, out, key)",
        ("tests/federation/test_simulation.py::test_what_was_published_meanwhile_stays",),
    ),
    Fault(
        "a table is checked when the site opens, and not when it is read",
        "client/table/snapshot.py",
        "return _Pinned(open_table(folder / pin.file, schema), folder, pin)",
        "return open_table(folder / pin.file, schema)",
        ("tests/client/table/test_snapshot.py::test_a_file_that_is_exchanged_under_an_open_site_is_not_read",),
    ),
    Fault(
        "a table that is exchanged while it is read is answered from",
        "client/table/snapshot.py",
        "then nothing is answered from it.\n        _require_pinned(self.folder, self.pin)\n",
        "then nothing is answered from it.\n",
        ("tests/client/table/test_snapshot.py::test_a_file_that_is_exchanged_under_an_open_site_is_not_read",),
    ),
    Fault(
        "a run of row groups is decoded whatever its bytes are",
        "client/table/run.py",
        "if _sha256(body) != self.run.sha256:",
        "if not body:",
        ("tests/client/table/test_run.py::test_a_byte_that_changed_is_never_read",),
    ),
    Fault(
        "a footer says where the columns of other bytes are",
        "client/table/run.py",
        "if _sha256(footer) != run.footer_sha256:",
        "if not footer:",
        ("tests/client/table/test_run.py::test_a_byte_that_changed_is_never_read",),
    ),
    Fault(
        "a worker's own words about a record leave it",
        "client/table/cluster.py",
        "failed: {type(error).__name__}",
        "failed: {error}",
        (
            "tests/client/table/test_cluster.py::test_what_a_worker_computes_is_a_function_of_its_own_or_a_sentence",
        ),
    ),
)
