# %% [markdown]
# # A simulated consortium
#
# Three national networks of the International Stroke Trial pool what they know, and no record leaves its
# network. The whole study runs on this machine: each network has its own records, key and ledger, and what is
# sent is what hospitals would send. The trial is public and comes with cohortmix (ODC-By 1.0; see NOTICE.md
# beside the data).
#
# Its files are written to `simulated-study`, which `reading_a_published_study.py` reads.

# %%
from importlib.resources import files
from pathlib import Path

import pandas as pd

from cohortmix.core import Budget, Schema
from cohortmix.deploy.simulation.consortium import Terms
from cohortmix.deploy.simulation.simulation import simulate

NETWORKS = ("NORW", "POLA", "SWIT")
COLUMNS = ("AGE", "SEX", "RCONSC", "RSBP", "RATRIAL", "outcome")

demo = files("cohortmix.deploy") / "demo"
trial = pd.read_parquet(str(demo / "stroke.parquet"))
patients = trial[trial["network"].isin(NETWORKS)]
dictionary = Schema.from_yaml((demo / "schema.yaml").read_text("utf-8"))
schema = dictionary.model_copy(update={"columns": {name: dictionary.columns[name] for name in COLUMNS}})
print(patients["network"].value_counts().to_string())

# %% [markdown]
# ## The study
#
# Every patient is at one network only, so the budget of the study is what each of them is exposed to. With a
# `seed` the noise is a repeatable one for tests: this study is NOT PRIVATE, and every file of it says so. Leave
# the seed out for the real noise.

# %%
terms = Terms(
    budget=Budget.from_epsilon(1.0),
    name="three networks",
    overlap="disjoint",
    seed=1,
)
out = Path("simulated-study")
study = simulate(patients, schema, list(patients["network"]), terms, out=out, replace=True, tell=print)
print(sorted(path.name for path in out.iterdir()))

# %% [markdown]
# ## What it cost, and who gave what
#
# A network that is too small for pairs of columns gives one centroid for each class of the outcome, and the
# summary says so.

# %%
print(study.summary["warning"])
for site in study.summary["sites"]:
    what = "class centroids only" if site["reduced"] else f"{site['centroids']} centroids"
    print(f"{site['name']}: {site['n']:,} patients, mu {site['mu']:.3f}, {what}")
whole = study.summary["consortium"]
print(f"one patient: mu {whole['mu']:.3f}; one who was at all three networks: {whole['mu_worst']:.3f}")

# %% [markdown]
# ## The pooled records
#
# They have the schema's columns, and `site`: the network from whose centroid a record was drawn.

# %%
print(study.records.head().to_string())
shares = study.records["site"].value_counts(normalize=True)
print(", ".join(f"{name} {share:.0%}" for name, share in shares.items()))
