"""Commands that set up a site and serve it: `site init`, `site check`, `site serve`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from cohortmix.client.ledger.ledger import Ledger
from cohortmix.client.site.config import DEFAULT, SiteConfig, load_config, parse_config
from cohortmix.client.site.lock import exclusive, replacing
from cohortmix.client.table.data import open_table
from cohortmix.client.table.snapshot import pin_shared, pin_snapshot
from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import InputError, Source, quoted
from cohortmix.core.data.words import in_quotes
from cohortmix.core.privacy.budget import MIN_PATIENTS
from cohortmix.core.utility.checks.check import MOST_UNREADABLE, Checked, MisfitError
from cohortmix.core.utility.checks.check import check as check_table
from cohortmix.protocol.local.checked import MaxUnreadable, show_checked
from cohortmix.protocol.local.interrupt import hold
from cohortmix.protocol.local.keyfile import write_key
from cohortmix.protocol.local.progress import step
from cohortmix.protocol.local.terminal import Terminal, say
from cohortmix.protocol.local.wording import count
from cohortmix.protocol.messages import Description, encode
from cohortmix.protocol.signing import Key
from cohortmix.protocol.storage.durable import replace_file

ConfigFile = Annotated[Path, typer.Option("--config", "-c", help="The site's configuration.")]


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the site; must be new or empty.")],
    name: Annotated[str, typer.Option(help="Name of the site, as studies will have it.")],
    data: Annotated[str, typer.Option(help="CSV or Parquet file, folder of Parquet files, or URL of a database.")],
    schema: Annotated[Path, typer.Option(help="The data dictionary of the table, in YAML.")],
    cap_mu: Annotated[str, typer.Option(help="The most that all studies together may ever cost one patient.")],
    table: Annotated[str | None, typer.Option(help="With a URL: the table or view to read.")] = None,
    coordinator: Annotated[
        list[str] | None, typer.Option(help="Public key of a coordinator who may ask. May be repeated.")
    ] = None,
) -> None:
    """Make the folder of a new site: configuration, signing key, and a state that allows nothing yet."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{in_quotes(folder)} is not an empty folder; give a new one")
    source = {"sql": data} if "://" in data else {"file": str(Path(data).absolute())}
    if "file" in source and not os.path.exists(data):
        raise InputError(
            f"--data names no file or folder that can be seen: {data!r}; a database is given by its URL"
        )
    if "sql" in source:
        from cohortmix.client.table.sql import check_url  # brings in SQLAlchemy

        check_url(data)  # now, before a password in it is written into site.yaml
    plain = {
        "name": name,
        "data": source | ({} if table is None else {"table": table}),
        "schema": str(schema.absolute()),
        "cap_mu": cap_mu,
        "coordinators": list(coordinator or ()),
    }
    key = Key.generate()
    config = _write(folder, plain, key)
    say(f"{config.name}: a new site in {folder}")
    say(f"public key {key.public_hex}")
    say(f"next: cohortmix site check --config {folder / 'site.yaml'}")


def check(config: ConfigFile = DEFAULT, max_unreadable: MaxUnreadable = MOST_UNREADABLE) -> None:
    """Read the table, check that it fits its schema, and pin a copy of it, which is what will be served."""
    from cohortmix.client.site.opening import open_site  # brings in JAX

    site, on_terminal = load_config(config), sys.stderr.isatty()  # now: a progress line replaces sys.stderr
    schema = site.read_schema()
    schema.require_confirmed()
    with exclusive(site.snapshot_folder):
        if site.ledger_file.exists():  # first: a ledger that does not open should not wait for a long reading
            Ledger(site.ledger_file, site.cap_mu, site.mark, site.read_key().public_hex).close()
        with replacing(site.snapshot_folder), step("reading and checking the table"):
            checked: list[Checked] = []
            _pin(site, schema, lambda table: checked.append(_check(table, schema, max_unreadable, on_terminal)))
        with open_site(site) as opened:
            facts = opened.description
        _write_description(site, facts)
    size = f"{count(facts.patients, 'patient')}, {count(len(facts.columns), 'column')}"
    say(f"{facts.site}: {size}; ready to be served")
    if facts.patients < MIN_PATIENTS:
        say(f"fewer than {MIN_PATIENTS} patients: this site can take part in studies with `noise: joint` only")
    say(f"{site.description_file}: give it to the coordinator")
    if sys.stdout.isatty():  # a log is kept, and read by others
        show_checked(Terminal(soft_wrap=False), checked[0])
    else:
        say("how many values were clipped or count as missing is shown on a terminal only")


def serve(config: ConfigFile = DEFAULT) -> None:
    """Answer studies on the site's socket until told to stop; becomes the daemon's own process."""
    say(f"{load_config(config).name}: starting", err=True)  # loading takes seconds, and prints nothing
    hold()  # interrupts wait until the daemon's program is there to handle them
    # -P: do not search the folder that this was started in for modules.
    os.execv(sys.executable, [sys.executable, "-P", "-m", "cohortmix.client.site.start", str(config)])


def _check(table: Source, schema: Schema, max_unreadable: float, on_terminal: bool) -> Checked:
    try:
        checked = check_table(table, schema, max_unreadable)
    except MisfitError as error:
        if on_terminal:
            raise
        raise InputError(  # a log is read by others, and the counts in the error are not private
            f"the table does not fit its schema, in {quoted(error.columns)}; run `cohortmix site check` on a "
            "terminal to see how"
        ) from None
    return checked


def _write_description(config: SiteConfig, facts: Description) -> None:
    try:
        replace_file(config.description_file, encode(facts))
    except OSError as error:
        raise InputError(f"cannot write {in_quotes(config.description_file)}: {error.strerror}") from None


def _pin(config: SiteConfig, schema: Schema, check: Callable[[Source], None]) -> None:
    if config.data.parquet is not None:
        pin_shared(config.snapshot_folder, config.data.parquet, schema, check)
    else:
        pin_snapshot(config.snapshot_folder, _source(config, schema), schema, check)


def _source(config: SiteConfig, schema: Schema) -> Source:
    if config.data.file is not None:
        return open_table(config.data.file, schema)
    assert config.data.sql is not None
    assert config.data.table is not None
    from cohortmix.client.table.sql import SqlSource  # brings in SQLAlchemy

    return SqlSource(config.data.sql, config.data.table, schema)


def _write(folder: Path, plain: dict[str, Any], key: Key) -> SiteConfig:
    path, text = folder / "site.yaml", yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)
    config = parse_config(text, path, "the new site")
    config.read_schema()
    try:
        if not folder.exists():  # whoever made it has decided who may enter
            _make_folder(folder, 0o711)  # the relay may pass through it to the socket, and see nothing else
        for private in (config.state, config.snapshot_folder, config.mark):
            _make_folder(private, 0o700)
        _make_folder(config.socket.parent, 0o2750)
        write_key(config.key, key)
        replace_file(path, text.encode())
    except OSError as error:
        raise InputError(f"cannot write {in_quotes(folder)}: {error.strerror}") from None
    return config


def _make_folder(folder: Path, mode: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(mode)  # the umask takes bits from mkdir's own mode, and mkdir ignores setgid
