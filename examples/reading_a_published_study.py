# %% [markdown]
# # Reading a published study
#
# What a researcher does with a folder that a coordinator has published: check it, read what it says about
# itself, and use the records. Run `simulated_consortium.py` first, which writes such a folder, or name another
# one: `python reading_a_published_study.py cohortmix-demo`.

# %%
import json
import sys
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from cohortmix.deploy.verify import verify

named = [Path(word) for word in sys.argv[1:] if Path(word).is_dir()]
folder = named[0] if named else Path("simulated-study")
if not folder.is_dir():
    sys.exit(f"there is no folder {folder}: run simulated_consortium.py first, or name one")

# %% [markdown]
# ## Check it
#
# Signatures, the arithmetic of every receipt, the chains of the hospitals' ledgers, and every file against the
# coordinator's manifest. Public keys are enough, and they are in the folder; only the coordinator's own has to
# be compared with the one that you know. On the command line: `cohortmix verify FOLDER`.

# %%
(study,) = verify([folder])
print(f"study {study.spec.name!r} of {len(study.receipts)} hospitals: every receipt holds")
print(f"one patient: mu {study.consortium.mu:.3f}; {study.consortium.worst:.3f} if they were at every hospital")
print(f"files that the coordinator signed: {len(study.files or ())}")
print(f"signed by {study.spec.coordinator_key}")

# %% [markdown]
# ## What a receipt says
#
# One for each hospital and round: how many numbers were released, how much one patient can change them, and how
# much noise there is. `mu2` is the square of the cost, exactly.

# %%
for site, receipts in study.receipts.items():
    for receipt in receipts:
        for statement in receipt.statements:
            ratio = statement.sigma / statement.sensitivity2**0.5
            said = f"{statement.dimension:,} numbers, noise {ratio:.1f} times what one patient can change"
            print(f"{site}, round {receipt.round}, {statement.name}: {said}")

# %% [markdown]
# ## What the study says about itself
#
# A warning stands above everything else; test noise protects nobody. The same facts are in the metadata of each
# table, so that a file which was parted from its folder still says what it is.

# %%
summary = json.loads((folder / "summary.json").read_text("utf-8"))
print(summary.get("warning", "no warning"))
print("too small for pairs of columns:", [site["name"] for site in summary["sites"] if site["reduced"]])
print(json.loads(pq.read_schema(folder / "pooled.parquet").metadata[b"cohortmix"]))

# %% [markdown]
# ## Use the records
#
# Any analysis is allowed: whatever is computed from a release is as private as the release.

# %%
records = pd.read_parquet(folder / "pooled.parquet")
target = summary["study"]["target"]
print(f"{len(records):,} synthetic records of {sum(site['n'] for site in summary['sites']):,} patients")
print(records.groupby(target, observed=True)[["AGE", "RSBP"]].mean().round(1).to_string())

# %% [markdown]
# The condensed set says the same with a few hundred weighted rows.

# %%
centroids = pd.read_parquet(folder / "centroids.parquet")
by_kind = centroids.groupby(["site", "kind"], observed=True)
print(by_kind.agg(rows=("kind", "size"), patients=("mass", "sum")).round().to_string())
