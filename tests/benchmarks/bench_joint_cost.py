"""What a joint answer costs: bytes of a site, CPU seconds and peak memory of a site and of the coordinator.

    python tests/benchmarks/bench_joint_cost.py [--sites 8 25 74 200] [--numbers 30000 300000] [--write]

One sum over S sites, a tenth of which may conspire and a tenth of which drop out before their input, with messages
of a study as bytes. One site and the coordinator run in processes of their own; what the other sites say is made
beforehand. `--write` keeps the figures in results/joint_cost.json.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import time
from collections.abc import Callable, Mapping
from decimal import Decimal
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from result_cells import RESULTS

from cohortmix.protocol.canonical import canonical
from cohortmix.protocol.fields import Array
from cohortmix.protocol.masking.masks import integers, total, words
from cohortmix.protocol.masking.part import Part, Roster
from cohortmix.protocol.masking.reading import Reading
from cohortmix.protocol.masking.seeds import Seeds
from cohortmix.protocol.messages import MaskedRelease, SiteEntry, StudySpec
from cohortmix.protocol.signing import Key
from cohortmix.protocol.steps import AskConsent, AskInput, AskShares, AskUnmask, Box, Boxes, Shares, SignedReply
from cohortmix.protocol.study import JointNoise

SUM = "a" * 64
FILE = RESULTS / "joint_cost.json"
Facts = dict[str, Any]


def study_of(keys: Mapping[str, Key]) -> StudySpec:
    """A joint study of these sites, by name."""
    tenth = max(1, len(keys) // 10)
    return StudySpec(
        name="cost",
        schema_hash="5" * 64,
        target="outcome",
        mu=Decimal("0.268"),
        delta=Decimal("0.000001"),
        overlap="disjoint",
        joint=JointNoise(conspirators=tenth, tolerated_dropouts=tenth if len(keys) > 8 else 1),
        sites=tuple(SiteEntry(name=name, key=key.public_hex, patients=100) for name, key in keys.items()),
        min_sites=len(keys) - (tenth if len(keys) > 8 else 1),
        round_deadline_seconds=60,
        version="0.1.0",
        coordinator_key=Key.generate().public_hex,
    )


def values_of(site: int, numbers: int) -> NDArray[np.int64]:
    """What a site adds."""
    return np.random.default_rng(site).integers(-(2**40), 2**40, numbers)


class Setting:
    """A sum up to its last step, with the messages in a folder.

    As many sites are missing as may be; or none (`complete`), and then each site gives its spare noise.
    """

    def __init__(self, sites: int, numbers: int, folder: Path, complete: bool) -> None:
        keys = {f"site-{number:03}": Key.generate() for number in range(sites)}
        self.study, self.numbers, self.folder = study_of(keys), numbers, folder
        self.parts = {name: Part(self.study, SUM, name, key, Seeds.draw()) for name, key in keys.items()}
        self.names = list(keys)
        self.told = AskShares(keys=tuple(part.keys() for part in self.parts.values()))
        self.sent = {name: part.shares(self.told) for name, part in self.parts.items()}
        self.survivors = self.names if complete else self.names[: self.study.terms.threshold]
        self.asked = AskConsent(survivors=tuple(self.survivors))

    def boxes(self, name: str) -> AskInput:
        """Those for one site."""
        boxes = [(sender, reply.reply.content) for sender, reply in self.sent.items()]
        return AskInput(
            boxes=tuple(
                Box(site=sender, sealed=box.sealed)
                for sender, content in boxes
                if isinstance(content, Boxes)
                for box in content.boxes
                if box.site == name
            )
        )

    def write(self) -> None:
        """The masked inputs, and the replies to the last step, of all sites that stay."""
        consents = []
        for number, name in enumerate(self.survivors):
            boxes, part = self.boxes(name), self.parts[name]
            masked = part.masked(self.told, boxes, values_of(number, self.numbers))
            release = MaskedRelease(values=Array.of(integers(masked)))
            (self.folder / f"{name}.input").write_bytes(canonical(release.plain()))
            consents.append(part.consent(self.told, boxes, self.asked))
        self.consents = AskUnmask(consents=tuple(consents))
        for name in self.survivors:
            reply = self.last_reply(name)
            (self.folder / f"{name}.unmask").write_bytes(canonical(reply.plain()))

    def last_reply(self, name: str) -> SignedReply:
        """What a site gives in the step `unmask`; its spare noise is that of the next site's values."""
        spare = values_of(self.names.index(name) + 1, self.numbers)
        return self.parts[name].unmask(self.told, self.boxes(name), self.asked, self.consents, spare)


def one_site(setting: Setting, name: str) -> Facts:
    """All five steps of a site, from bytes to bytes; without its answer, which a vault gives."""
    part, said = setting.parts[name], 0
    told = AskShares.model_validate_json(canonical(setting.told.plain()))
    boxes = AskInput.model_validate_json(canonical(setting.boxes(name).plain()))
    said += len(canonical(part.keys().plain())) + len(canonical(part.shares(told).plain()))
    part.opened(told, boxes)
    release = MaskedRelease(values=Array.of(integers(part.masked(told, boxes, values_of(0, setting.numbers)))))
    said += len(canonical(release.plain())) + len(canonical(part.consent(told, boxes, setting.asked).plain()))
    said += len(canonical(setting.last_reply(name).plain()))
    return {"bytes": said}


def coordinator(setting: Setting) -> Facts:
    """What it does with the replies to the last step: take the masks off, one input after the other."""
    replies: dict[str, Shares] = {}
    spare = np.zeros(setting.numbers, dtype=np.int64)
    for name in setting.survivors:
        signed = SignedReply.model_validate_json((setting.folder / f"{name}.unmask").read_bytes())
        assert isinstance(signed.reply.content, Shares)
        if signed.reply.content.spare is not None:
            spare += signed.reply.content.spare.numpy()
        replies[name] = signed.reply.content.model_copy(update={"spare": None})
    inputs = ((setting.folder / f"{name}.input").read_bytes() for name in setting.survivors)
    masked = total(words(MaskedRelease.model_validate_json(data).values.numpy()) for data in inputs)
    reading = Reading(Roster(setting.told.keys), setting.names, setting.survivors, setting.study.terms.threshold)
    read = integers(reading.read(masked, replies)) - spare
    sites = len(setting.survivors)
    given = range(1, sites + 1) if sites == len(setting.names) else ()
    expected = sum(values_of(number, setting.numbers) for number in range(sites))
    assert (read == expected - sum(values_of(number, setting.numbers) for number in given)).all()
    return {"dropouts": len(setting.names) - len(setting.survivors)}


def measured(work: Callable[..., Facts], *arguments: object) -> Facts:
    """What it gives, with CPU seconds, peak memory, and what the process began with; in a process of its own."""
    reader, writer = multiprocessing.Pipe(duplex=False)

    def run() -> None:
        before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
        facts = work(*arguments)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        writer.send(
            {**facts, "cpu seconds": time.process_time() - start, "peak MB": peak / 1e3, "of it": before / 1e3}
        )

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    facts: Facts = reader.recv()
    process.join()
    return facts


def main() -> None:
    """Measure every size, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sites", nargs="+", type=int, default=[8, 25, 74, 200])
    parser.add_argument("--numbers", nargs="+", type=int, default=[30_000, 300_000])
    parser.add_argument("--write", action="store_true", help="keep the figures")
    wanted, rows = parser.parse_args(), []
    for sites in wanted.sites:
        for numbers, complete in product(wanted.numbers, (False, True)):
            with TemporaryDirectory() as folder:
                setting = Setting(sites, numbers, Path(folder), complete)
                setting.write()
                row = {
                    "sites": sites,
                    "numbers": numbers,
                    "site": measured(one_site, setting, setting.names[0]),
                    "coordinator": measured(coordinator, setting),
                }
            rows.append(row)
            print(json.dumps(row), flush=True)
    if wanted.write:
        FILE.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
