"""A piece of a table whose worker dies while it is read."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from cohortmix.core.data.table import Source


@dataclass(frozen=True)
class DyingPiece:
    """As the piece in it; after its first batch the process that reads it is killed, once for each of `lives`.

    Each life is a file, which is gone afterwards: so it is known whether somebody died.
    """

    piece: Source
    lives: tuple[Path, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return self.piece.names

    def batches(self) -> Iterator[pa.RecordBatch]:
        for batch in self.piece.batches():
            yield batch
            for life in self.lives:
                if life.exists():
                    life.unlink()
                    os.kill(os.getpid(), signal.SIGKILL)
