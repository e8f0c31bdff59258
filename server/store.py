"""What the coordinator may not lose: its requests, the sites' replies, the frozen common facts, and when.

One SQLite file per study. Everything in it is signed or public, and nothing is decided here: messages go in
as bytes and come out as the same bytes. Each write is durable before the call returns, so a coordinator that
was stopped at any point goes on from there. The first entry under a key stays: a repeat changes nothing.
"""

import sqlite3
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from cohortmix.core.table import InputError
from cohortmix.protocol.canonical import sha256

BUSY_SECONDS = 60
"""How long a write waits for that of another process: `study status` reads while a run writes."""

_TABLES = """
CREATE TABLE IF NOT EXISTS study (one INTEGER PRIMARY KEY CHECK (one = 1), hash TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS request (
    site TEXT, round INTEGER, id TEXT NOT NULL, hash TEXT NOT NULL, message BLOB NOT NULL,
    PRIMARY KEY (site, round));
CREATE TABLE IF NOT EXISTS reply (
    site TEXT, round INTEGER, receipt TEXT NOT NULL UNIQUE, message BLOB NOT NULL,
    PRIMARY KEY (site, round));
CREATE TABLE IF NOT EXISTS refusal (
    number INTEGER PRIMARY KEY, site TEXT NOT NULL, round INTEGER NOT NULL, code TEXT NOT NULL,
    sentence TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS common (one INTEGER PRIMARY KEY CHECK (one = 1), message BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS moment (event TEXT PRIMARY KEY, at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS run (number INTEGER PRIMARY KEY, id TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS publication (number INTEGER PRIMARY KEY, receipts TEXT NOT NULL, folder TEXT NOT NULL);
"""


class RefusalEntry(NamedTuple):
    """One reply that brought no release: the site's refusal, or why the coordinator did not accept it."""

    site: str
    round: int
    code: str
    sentence: str


class Publication(NamedTuple):
    """One folder that was published.

    Attributes
    ----------
    receipts : hash over the hashes of the receipts in it, which says whether another reply has come since.
    folder : where it was written.
    """

    receipts: str
    folder: str


class Store:
    """The durable state of one study.

    Parameters
    ----------
    path : path of the SQLite file, made if it is absent; ":memory:" for a study that need not survive.
    study_hash : hash of the study; a file that holds another study is refused.

    Raises
    ------
    InputError
        If the file belongs to another study, is not a store, or cannot be used.
    """

    def __init__(self, path: Path | str, study_hash: str) -> None:
        try:
            self._db = sqlite3.connect(path, isolation_level=None, timeout=BUSY_SECONDS)
        except sqlite3.OperationalError as error:
            raise InputError(f"cannot use {path} as a study's store: {error}") from None
        try:
            self._open(study_hash)
        except sqlite3.DatabaseError as error:
            self.close()
            raise InputError(f"cannot use {path} as a study's store: {error}") from None
        except InputError:
            self.close()
            raise

    def _open(self, study_hash: str) -> None:
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.executescript(_TABLES)
        self._db.execute("INSERT INTO study VALUES (1, ?) ON CONFLICT DO NOTHING", (study_hash,))
        (held,) = self._row("SELECT hash FROM study")
        if held != study_hash:
            raise InputError(f"the store holds study={held}, not study={study_hash}; use one file per study")

    def keep_request(self, site: str, round: int, id: str, hash: str, message: bytes) -> bytes:
        """Keep a request before it is sent; return the one that is kept, which may be an earlier one."""
        self._db.execute(
            "INSERT INTO request VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (site, round, id, hash, message),
        )
        return bytes(self._row("SELECT message FROM request WHERE site = ? AND round = ?", site, round)[0])

    def keep_reply(self, site: str, round: int, receipt: str, message: bytes) -> bool:
        """Keep a site's release under the hash of its receipt; False if this round or receipt has one."""
        row = (site, round, receipt, message)
        with closing(self._db.execute("INSERT INTO reply VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING", row)) as c:
            return c.rowcount == 1

    def keep_refusal(self, entry: RefusalEntry) -> None:
        """Note a reply that brought no release, unless the site's last one said the same."""
        query = "SELECT site, round, code, sentence FROM refusal WHERE site = ? ORDER BY number DESC LIMIT 1"
        last = self._db.execute(query, (entry.site,)).fetchone()
        if last != tuple(entry):
            self._db.execute("INSERT INTO refusal (site, round, code, sentence) VALUES (?, ?, ?, ?)", entry)

    def keep_common(self, message: bytes) -> bytes:
        """Freeze the common facts of round 2; return the ones that are frozen, which may be earlier ones."""
        self._db.execute("INSERT INTO common VALUES (1, ?) ON CONFLICT DO NOTHING", (message,))
        return bytes(self._row("SELECT message FROM common")[0])

    def keep_moment(self, event: str, at: float) -> float:
        """Note when something happened, in seconds since 1970; return the moment kept, maybe an earlier one."""
        self._db.execute("INSERT INTO moment VALUES (?, ?) ON CONFLICT DO NOTHING", (event, at))
        return float(self._row("SELECT at FROM moment WHERE event = ?", event)[0])

    def keep_run(self, id: str) -> None:
        """Note under which id Flower conducts the study."""
        self._db.execute("INSERT INTO run (id) VALUES (?)", (id,))

    def keep_publication(self, publication: Publication) -> None:
        """Note what was published."""
        self._db.execute("INSERT INTO publication (receipts, folder) VALUES (?, ?)", publication)

    def request(self, site: str, round: int) -> bytes | None:
        """The request of a site for a round, or None before it is made."""
        query = "SELECT message FROM request WHERE site = ? AND round = ?"
        row = self._db.execute(query, (site, round)).fetchone()
        return None if row is None else bytes(row[0])

    def receipt(self, site: str, round: int) -> str | None:
        """The hash of the receipt under which a site's release of a round is kept, or None."""
        query = "SELECT receipt FROM reply WHERE site = ? AND round = ?"
        row = self._db.execute(query, (site, round)).fetchone()
        return None if row is None else str(row[0])

    def replies(self, round: int) -> dict[str, bytes]:
        """The releases received so far, by site."""
        return dict(self._db.execute("SELECT site, message FROM reply WHERE round = ? ORDER BY site", (round,)))

    def answered(self, round: int) -> frozenset[str]:
        """The sites whose release of this round is kept."""
        return frozenset(site for (site,) in self._db.execute("SELECT site FROM reply WHERE round = ?", (round,)))

    def refusals(self) -> tuple[RefusalEntry, ...]:
        """Every reply that brought no release, in the order of arrival."""
        rows = self._db.execute("SELECT site, round, code, sentence FROM refusal ORDER BY number")
        return tuple(RefusalEntry(*row) for row in rows)

    def common(self) -> bytes | None:
        """The frozen common facts, or None before the freeze."""
        row = self._db.execute("SELECT message FROM common").fetchone()
        return None if row is None else bytes(row[0])

    def moment(self, event: str) -> float | None:
        """When something happened, in seconds since 1970; None if it has not."""
        row = self._db.execute("SELECT at FROM moment WHERE event = ?", (event,)).fetchone()
        return None if row is None else float(row[0])

    def run(self) -> str | None:
        """The id of the latest run, or None."""
        row = self._db.execute("SELECT id FROM run ORDER BY number DESC LIMIT 1").fetchone()
        return None if row is None else str(row[0])

    def publication(self) -> Publication | None:
        """The latest publication, or None."""
        row = self._db.execute("SELECT receipts, folder FROM publication ORDER BY number DESC LIMIT 1").fetchone()
        return None if row is None else Publication(*row)

    def receipts(self) -> str:
        """Hash over the hashes of all receipts received so far."""
        return sha256(sorted(receipt for (receipt,) in self._db.execute("SELECT receipt FROM reply")))

    def close(self) -> None:
        """Release the file; the store cannot be used afterwards."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _row(self, query: str, *values: object) -> tuple[Any, ...]:
        return tuple(self._db.execute(query, values).fetchone())
