"""Random damage to the files of a journal: what a bad disk, a bad copy or a careless restore leaves.

`COHORTMIX_DAMAGES` says how many damages a campaign makes (a few hundred by default; 10,000 take some minutes).
Each campaign has one seed.
"""

from __future__ import annotations

import os
import random
import shutil
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

DAMAGES = int(os.environ.get("COHORTMIX_DAMAGES", "300"))
PAGE = 4096
LONGEST = 600  # characters of a sentence

Content = bytes | None  # of a file; None where it is not there


def flipped(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 8])):
        changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def zeroed(data: bytes, rng: random.Random) -> bytes:
    start, length = _range(data, rng)
    return data[:start] + bytes(length) + data[start + length :]


def scribbled(data: bytes, rng: random.Random) -> bytes:
    start, length = _range(data, rng)
    return data[:start] + rng.randbytes(length) + data[start + length :]


def moved(data: bytes, rng: random.Random) -> bytes:
    """A range that was written to another place too."""
    start, length = _range(data, rng)
    to = rng.randrange(len(data) - length + 1)
    return data[:to] + data[start : start + length] + data[to + length :]


def truncated(data: bytes, rng: random.Random) -> bytes:
    pages = max(1, len(data) // PAGE)
    return data[: rng.choice([0, rng.randrange(len(data)), PAGE * rng.randrange(pages)])]


def longer(data: bytes, rng: random.Random) -> bytes:
    return data + rng.choice([bytes(PAGE), rng.randbytes(100), data[-PAGE:], data])


def swapped(data: bytes, rng: random.Random) -> bytes:
    pages = [data[at : at + PAGE] for at in range(0, len(data), PAGE)]
    one, other = rng.randrange(len(pages)), rng.randrange(len(pages))
    pages[one], pages[other] = pages[other], pages[one]
    return b"".join(pages)


def _range(data: bytes, rng: random.Random) -> tuple[int, int]:
    length = min(len(data), rng.choice([1, 16, 64, 512, PAGE]))
    start = rng.randrange(len(data) - length + 1)
    return (start // PAGE * PAGE if length == PAGE else start), length


ANY = (flipped, flipped, zeroed, scribbled, moved, truncated, longer, swapped)


class Files:
    """The files of one journal, as they are and as they were, and one damage at a time to a copy of them.

    Parameters
    ----------
    now : the newest copy, name by name.
    before : older copies of the same files.
    """

    def __init__(self, now: Path, before: list[Path]) -> None:
        self._now = {file.name: file.read_bytes() for file in now.iterdir() if file.stat().st_size}
        # The log's index is memory that open processes share, and the first of them makes it anew. A process that
        # has it open would crash if it were cut off.
        self.names = sorted(name for name in self._now if not name.endswith("-shm"))
        self._before = [{file.name: file.read_bytes() for file in folder.iterdir()} for folder in before]

    def put(self, folder: Path) -> None:
        """The newest copy, in a folder that is empty."""
        for name, data in self._now.items():
            (folder / name).write_bytes(data)

    def damage(self, rng: random.Random) -> tuple[str, str, Content]:
        """What is done to which file, and the content that this leaves."""
        name = rng.choice(self.names)
        data, older = self._now[name], rng.choice(self._before).get(name)
        choices: list[tuple[str, Callable[[], Content]]] = [(act.__name__, partial(act, data, rng)) for act in ANY]
        choices += [("lost", lambda: None)]
        if older:
            choices += [("set back", lambda: older)] + 3 * [
                ("an older page", lambda: _older_page(data, older, rng))
            ]
        what, act = rng.choice(choices)
        return f"{name}: {what}", name, act()


def _older_page(data: bytes, older: bytes, rng: random.Random) -> bytes:
    """One page of an older copy, in its place: an index that disagrees with its table."""
    changed = [
        at for at in range(0, min(len(data), len(older)), PAGE) if data[at : at + PAGE] != older[at : at + PAGE]
    ]
    at = rng.choice(changed or [0])
    return data[:at] + older[at : at + PAGE] + data[at + PAGE :]


def campaign(
    files: list[Files],
    folder: Path,
    use: Callable[[Path, Callable[[], None]], str],
    refused: type[Exception],
    most: int,
    seed: int,
) -> Counter[str]:
    """Damage the files again and again, and use each copy; what became of them, by outcome.

    Parameters
    ----------
    use : given the folder of a copy and what does the damage, to be called at any time; raises AssertionError for
        a violation, `refused` with one sentence where the copy is not used, and returns what it found otherwise.
    """
    rng, outcomes, violations = random.Random(seed), Counter[str](), []
    for number in range(most):
        copy, chosen = folder / "copy", rng.choice(files)
        copy.mkdir()
        chosen.put(copy)
        what, name, content = chosen.damage(rng)

        def strike(path: Path = copy / name, content: Content = content) -> None:
            path.unlink() if content is None else _overwrite(path, content)

        try:
            outcomes[use(copy, strike)] += 1
        except refused as error:
            sentence = str(error)
            assert sentence.isprintable(), (number, what, sentence)
            assert len(sentence) < LONGEST, (number, what, sentence)
            outcomes["refused"] += 1
        except Exception as error:  # a violation, or what would be a traceback
            violations.append(f"{number}, {what}: {type(error).__name__}: {str(error)[:200]}")
        shutil.rmtree(copy)
    assert not violations, f"{len(violations)} of {most}:\n" + "\n".join(violations[:20])
    return outcomes


def _overwrite(path: Path, content: bytes) -> None:
    """Overwrite in place: whoever has the file open sees the change."""
    with path.open("r+b") as file:
        file.write(content)
        file.truncate()
