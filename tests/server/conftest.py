"""A study of two sites, as files: a schema, descriptions and a STUDY.yaml."""

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from one_site import SCHEMA, TOY

from cohortmix.protocol.messages import Description, encode

Written = Callable[..., Path]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    """written(delta=..., sites=[...]): the path of a STUDY.yaml with these keys; None leaves one out."""
    (tmp_path / "schema.yaml").write_text(TOY)
    describe(tmp_path / "uk.json", "UK", "a", 4000)
    describe(tmp_path / "norway.json", "NORW", "b", 300)

    def write(**changes: Any) -> Path:
        content = {
            "name": "toy study",
            "schema": "schema.yaml",
            "epsilon": 1,
            "overlap": "disjoint",
            "min_sites": 2,
            "deadline": "7d",
            "sites": ["uk.json", "norway.json"],
        }
        path = tmp_path / "STUDY.yaml"
        kept = {key: value for key, value in (content | changes).items() if value is not None}
        path.write_text(yaml.safe_dump(kept, sort_keys=False))
        return path

    return write


def describe(path: Path, site: str, digit: str, patients: int, **changes: str) -> None:
    """Write a site's description; its key is made of one digit."""
    facts: dict[str, Any] = {"schema_hash": SCHEMA.hash, "version": version("cohortmix")} | changes
    description = Description(site=site, key=digit * 64, patients=patients, columns=tuple(SCHEMA.columns), **facts)
    path.write_bytes(encode(description))
