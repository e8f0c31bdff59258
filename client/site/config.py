"""The configuration of a site: one YAML file; paths in it are relative to its folder.

```yaml
name: NORWAY                      # the name that studies give the site
data: {file: patients.parquet}    # CSV, Parquet, a folder; or {sql: "postgresql+psycopg://user@/db", table: T};
                                  # or {parquet: FOLDER_OR_URI, engine: ray} for a table too large for one machine
schema: schema.yaml               # the data dictionary
cap_mu: 0.5                       # the most that all studies together may ever cost one patient
coordinators: [64 hexadecimal digits, ...]    # public keys whose studies may be approved
key: site.key                     # signs receipts; 0600
state: state                      # ledger, approvals, snapshot
mark: mark                        # the ledger's high-water mark: put it on other storage than `state`
socket: run/site.sock             # where the daemon listens for the relay
interval_seconds: 30              # replies leave on ticks of it
max_message_bytes: 33554432       # a longer request is not read
```
"""

from __future__ import annotations

import os
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo

from cohortmix.core.data.schema import Schema
from cohortmix.core.data.words import in_quotes
from cohortmix.protocol.fields import Exact, PublicKey, TypedName
from cohortmix.protocol.local.keyfile import read_key
from cohortmix.protocol.local.textfile import parse_file, read_schema, read_text
from cohortmix.protocol.messages import MAX_BYTES
from cohortmix.protocol.signing import Key

DEFAULT = Path("site.yaml")
"""Where every `site` command looks without `--config`."""

URI_OPTIONS = {"region", "scheme", "endpoint_override"}
"""What may stand behind the ? of a URI; keys of a storage can stand there, too."""


def _from_file(path: Path, info: ValidationInfo) -> Path:
    """A path as the file has it, relative to the file's folder."""
    folder: Path = (info.context or {}).get("folder", Path())
    if "\0" in str(path):
        raise ValueError("expected a path, got a text with a NUL")
    return Path(os.path.normpath(folder / path.expanduser()))


def _where_workers_read(location: str, info: ValidationInfo) -> str:
    """A path of which each machine has the same, relative to the file's folder; or a URI without a secret."""
    if "://" not in location:
        return str(_from_file(Path(location), info).absolute())
    uri = urlsplit(location)
    options = dict(parse_qsl(uri.query, keep_blank_values=True))
    # A / in a password ends what is taken for the host.
    signs = "@" in uri.netloc or (":" in uri.netloc and "@" in location) or "@" in unquote(uri.query)
    if signs or not options.keys() <= URI_OPTIONS:
        raise ValueError(
            "expected a URI without a key or a password, and behind a ? nothing but region, scheme and "
            "endpoint_override; workers find theirs in their environment"
        )
    return location


def _path_of(location: str) -> Path | None:
    """Where it is among this machine's files; None for a URI of another storage."""
    if "://" not in location:
        return Path(location)
    uri = urlsplit(location)
    return Path(unquote(uri.path)) if uri.scheme == "file" else None


def _above_zero(mu: Decimal) -> Decimal:
    if not mu:
        raise ValueError("expected a mu above 0, since under a cap of 0 no study could ever be answered")
    return mu


PathInFile = Annotated[Path, AfterValidator(_from_file)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=True)


class Data(_Part):
    """Where the records are: a file or folder, one table of a database, or Parquet files that a cluster reads."""

    file: PathInFile | None = None
    sql: str | None = None
    table: str | None = None
    parquet: Annotated[str, AfterValidator(_where_workers_read)] | None = None
    engine: Literal["ray"] | None = None

    def model_post_init(self, context: Any) -> None:
        """Refuse anything but one of the three forms."""
        form = "expected {file: PATH}, {sql: URL, table: NAME}, or {parquet: FOLDER_OR_URI, engine: ray}"
        if (self.parquet is None) != (self.engine is None):
            raise ValueError(f"{form}; `parquet` and `engine: ray` go together, and `file` needs neither")
        if self.sql is not None and self.table is None and self.file is None:
            raise ValueError(f"{form}; the table is missing: add `table: NAME`, the table or view to read")
        if self.table is not None and self.sql is None:
            raise ValueError(f"{form}; a table is of a database: add `sql: URL`, or leave `table` out")
        given = [each for each in (self.file, self.sql, self.parquet) if each is not None]
        if len(given) != 1:
            raise ValueError(f"{form}, got {'several of them' if given else 'none of them'}")


class SiteConfig(_Part):
    """A site's configuration; paths are resolved, from the file's folder, as soon as it is read."""

    name: TypedName
    data: Data
    schema_file: PathInFile = Field(alias="schema")
    cap_mu: Annotated[Exact, AfterValidator(_above_zero)]
    coordinators: tuple[PublicKey, ...] = ()
    key: PathInFile = Path("site.key")
    state: PathInFile = Path("state")
    mark: PathInFile = Path("mark")
    socket: PathInFile = Path("run/site.sock")
    interval_seconds: float = Field(default=30, ge=0.01, le=3600, allow_inf_nan=False)
    max_message_bytes: int = Field(default=32 * 2**20, ge=2**16, le=MAX_BYTES)

    def model_post_init(self, context: Any) -> None:
        """Refuse a table in the folder of the snapshot, where whatever is not served is removed."""
        kept = self.snapshot_folder.resolve()
        if any(path.resolve().is_relative_to(kept) for path in self._table):
            raise ValueError(f"the table lies in {in_quotes(kept)}, which is the site's own; move it out of there")

    @property
    def ledger_file(self) -> Path:
        """The ledger's database."""
        return self.state / "ledger.db"

    @property
    def policy_file(self) -> Path:
        """What the steward has approved."""
        return self.state / "policy.json"

    @property
    def snapshot_folder(self) -> Path:
        """The cleaned table that is served."""
        return self.state / "snapshot"

    @property
    def description_file(self) -> Path:
        """The public facts that a coordinator needs to name this site in a study."""
        return self.state / "description.json"

    @property
    def files(self) -> tuple[Path, ...]:
        """The files, and folders with all their content, that the site lives on."""
        return (self.key, self.schema_file, self.state, self.mark, self.socket, *self._table)

    @property
    def _table(self) -> list[Path]:
        """The file or folder of the records, where it is one of this machine."""
        local = None if self.data.parquet is None else _path_of(self.data.parquet)
        return [path for path in (self.data.file, local) if path is not None]

    def read_schema(self) -> Schema:
        """The data dictionary; errors as `textfile.read_schema`."""
        return read_schema(self.schema_file)

    def read_key(self) -> Key:
        """The key that signs receipts; errors as `keyfile.read_key`."""
        return read_key(self.key)


def load_config(path: Path = DEFAULT) -> SiteConfig:
    """The configuration in a file.

    Raises
    ------
    InputError
        With the first faults in one line, each naming its key.
    """
    absent = "name it with --config, or run this in the site's folder (`cohortmix site init` makes one)"
    return parse_config(read_text(path, "the site's configuration", absent), path, repr(str(path)))


def parse_config(text: str, path: Path, what: str) -> SiteConfig:
    """The configuration in `text`, the present or future content of `path`; errors as `load_config`.

    Parameters
    ----------
    what : what errors call it.
    """
    return parse_file(text, SiteConfig, what, {"folder": path.parent})
