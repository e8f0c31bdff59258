"""Commands that set up a site and serve it: `site init`, `site check`, `site serve`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from cohortmix.client.config import SiteConfig, parse_config
from cohortmix.core.table import InputError
from cohortmix.protocol.signing import Key


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
        raise InputError(f"{str(folder)!r} is not an empty folder; give a new one")
    source = {"sql": data, "table": table} if "://" in data else {"file": str(Path(data).absolute())}
    plain = {
        "name": name,
        "data": {key: value for key, value in source.items() if value is not None},
        "schema": str(schema.absolute()),
        "cap_mu": cap_mu,
        "coordinators": list(coordinator or ()),
    }
    key = Key.generate()
    config = _write(folder, plain, key)
    typer.echo(f"{config.name}: a new site in {folder}")
    typer.echo(f"public key {key.public_hex}")
    typer.echo(f"next: cohortmix site check --config {folder / 'site.yaml'}")


def _write(folder: Path, plain: dict[str, Any], key: Key) -> SiteConfig:
    path, text = folder / "site.yaml", yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)
    config = parse_config(text, path)
    config.read_schema()
    try:
        _make_folder(folder, 0o711)  # the relay passes through it to the socket, and sees nothing else
        for private in (config.state, config.mark):
            _make_folder(private, 0o700)
        _make_folder(config.socket.parent, 0o2750)
        for file, content in ((config.key, key.to_bytes()), (path, text.encode())):
            file.touch(mode=0o600)
            file.write_bytes(content)
    except OSError as error:
        raise InputError(f"cannot write {str(folder)!r}: {error.strerror}") from None
    return config


def _make_folder(folder: Path, mode: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(mode)  # mkdir's own mode is cut by the umask, and knows no setgid
