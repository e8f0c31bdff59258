"""Faults that would break the guarantee, each a small edit of one file, and the tests that have to catch it.

`mutate.py` plants them one at a time in a copy of the code. The old text must occur exactly once in the file: a
fault that no longer fits the code is reported, never skipped. A file for each thing that the faults touch.
"""

from . import cells, contributions, counts, joint, keeping, masking, noise, paying, questions, release, vault, wire
from .fault import Fault

__all__ = ["FAULTS", "Fault"]

FAULTS = (
    *noise.FAULTS,
    *vault.FAULTS,
    *cells.FAULTS,
    *contributions.FAULTS,
    *counts.FAULTS,
    *questions.FAULTS,
    *paying.FAULTS,
    *keeping.FAULTS,
    *release.FAULTS,
    *wire.FAULTS,
    *masking.FAULTS,
    *joint.FAULTS,
)
