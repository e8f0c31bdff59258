"""A study as the coordinator keeps it: a folder with what was agreed, and a store with what has happened.

    study.json     the draft: a StudySpec, in canonical JSON
    schema.yaml    its data dictionary
    signed.json    the study under the coordinator's signature, as the stewards get it
    study.db       requests, replies and when what happened (`store.py`); study.mark says how far it has come

A study's state is not written down anywhere, where it could contradict the rest. It follows from what is there,
and each entry is durable before the next step depends on it: a coordinator that was killed between any two steps
finds the study where it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import InputError
from cohortmix.protocol.canonical import canonical
from cohortmix.protocol.local.folder import whole_folder
from cohortmix.protocol.local.textfile import faults_of, read_bytes
from cohortmix.protocol.messages import MessageError, SignedStudy, StudySpec, decode, encode
from cohortmix.protocol.signing import Key, SignatureError, sign_study, verify_study
from cohortmix.protocol.storage.durable import SHOWN, replace_file
from cohortmix.server.store import Store

if TYPE_CHECKING:
    from cohortmix.server.coordinator import Coordinator

SPEC, SCHEMA, SIGNED, STORE = "study.json", "schema.yaml", "signed.json", "study.db"


@dataclass(frozen=True)
class Study:
    """A study's folder; every process reads everything from there."""

    folder: Path

    @classmethod
    def draft(cls, folder: Path, spec: StudySpec, schema: Schema) -> Study:
        """Write a new study's folder; it replaces an earlier draft, but not a study that was signed.

        Raises
        ------
        InputError
            If the folder holds anything else, or cannot be written.
        """
        with whole_folder(folder, {SPEC, SCHEMA}) as new:
            (new / SPEC).write_bytes(canonical(spec.plain()))
            (new / SCHEMA).write_text(schema.to_yaml(), encoding="utf-8")
        return cls(folder)

    @property
    def spec(self) -> StudySpec:
        """The study as it was drafted; InputError if that cannot be read."""
        try:
            return StudySpec.model_validate_json(self._read(SPEC))
        except ValidationError as error:
            faults = faults_of(error, StudySpec)
            raise InputError(f"{str(self.folder / SPEC)!r} is not a study: {faults}; draft it again") from None

    @property
    def schema(self) -> Schema:
        """The study's data dictionary; InputError if it was changed."""
        schema = Schema.from_yaml(self._read(SCHEMA).decode("utf-8", "replace"))
        if schema.hash != self.spec.schema_hash:
            raise InputError(f"{str(self.folder / SCHEMA)!r} was changed after the draft; draft the study again")
        return schema

    @property
    def signed(self) -> SignedStudy:
        """The study under its coordinator's signature; InputError if there is none, or one for other content."""
        if not self.is_signed:
            raise InputError(f"the study in {str(self.folder)!r} is not signed; `cohortmix study sign` does that")
        try:
            message = decode(self._read(SIGNED))
            if not isinstance(message, SignedStudy):
                raise InputError(f"{str(self.folder / SIGNED)!r} is not a signed study; sign it again")
            verify_study(message)
        except (MessageError, SignatureError) as error:
            raise InputError(f"{str(self.folder / SIGNED)!r}: {error}") from None
        if message.study != self.spec:
            raise InputError(f"{str(self.folder / SPEC)!r} was changed after it was signed; sign it again")
        return message

    @property
    def is_signed(self) -> bool:
        """Whether there is a signed study for the stewards."""
        return (self.folder / SIGNED).exists()

    @property
    def begun(self) -> bool:
        """Whether a site may have been asked by now."""
        return (self.folder / STORE).exists()

    def sign(self, key: Key) -> SignedStudy:
        """Sign the draft; signing it again changes nothing.

        Raises
        ------
        InputError
            If the key is not that of the coordinator whom the study names, or the study has begun with other
            content.
        """
        spec = self.spec
        require_coordinator_key(spec, key)
        signed = sign_study(key, spec)
        if self.begun and self._read(SIGNED) != encode(signed):
            raise InputError("the study has begun and cannot be changed; draft another one in a folder of its own")
        _write(self.folder / SIGNED, encode(signed))
        return signed

    @contextmanager
    def store(self) -> Iterator[Store]:
        """The store of what has happened so far; closed afterwards."""
        with Store(self.folder / STORE, self.signed.study.hash) as store:
            yield store

    @contextmanager
    def coordinator(self, key: Key) -> Iterator[Coordinator]:
        """The coordinator, at the point that the study has reached; its store is closed afterwards."""
        from cohortmix.server.coordinator import Coordinator  # these bring in JAX
        from cohortmix.server.joint_coordinator import JointCoordinator

        signed, schema = self.signed, self.schema
        require_coordinator_key(signed.study, key)
        with self.store() as store:
            kind = Coordinator if signed.study.joint is None else JointCoordinator
            yield kind(signed, key, schema, store)

    def _read(self, name: str) -> bytes:
        return read_bytes(self.folder / name, "the study's file", "give the folder of a drafted study")


def require_coordinator_key(spec: StudySpec, key: Key) -> None:
    """Raise InputError unless the key is that of the study's coordinator."""
    if spec.coordinator_key != key.public_hex:
        raise InputError(
            f"the study names the coordinator's key {spec.coordinator_key[:12]}..., this one is "
            f"{key.public_hex[:12]}...; give the key it was drafted with"
        )


def _write(path: Path, content: bytes) -> None:
    """Write a file as a whole or not at all, and durably: what the stewards approve must survive a power cut."""
    try:
        replace_file(path, content, SHOWN)
    except OSError as error:
        raise InputError(f"cannot write {str(path)!r}: {error.strerror}") from None
