# %% [markdown]
# # One table
#
# From the table of one hospital to synthetic records, and what the receipt says about them. The table is a part
# of the International Stroke Trial, which is public and comes with cohortmix (ODC-By 1.0; see NOTICE.md beside
# the data): the patients of one national network.

# %%
from importlib.resources import files
from math import ceil

import pandas as pd

from cohortmix.core import Budget, Schema, synthesize
from cohortmix.core.privacy import gdp

trial = pd.read_parquet(str(files("cohortmix.deploy") / "demo" / "stroke.parquet"))
patients = trial[trial["network"] == "SWIT"]
print(f"{len(patients):,} patients")

# %% [markdown]
# ## The schema
#
# A person wrote it from the trial's data dictionary and from what is possible in adults. Nothing in it was read
# off the records, since a schema is public.

# %%
SCHEMA = """
name: stroke-trial
target: outcome
columns:
  AGE:     {type: number, min: 16, max: 105, integer: true, unit: years}
  SEX:     {type: category, values: [F, M]}
  RCONSC:  {type: category, values: [F, D, U], description: 'fully alert, drowsy, unconscious'}
  RSBP:    {type: number, min: 50, max: 300, integer: true, unit: mmHg}
  RATRIAL: {type: category, values: [Y, N], missing: true, description: Atrial fibrillation}
  outcome: {type: category, values: [recovered, dead_or_dependent]}
"""
schema = Schema.from_yaml(SCHEMA)

# %% [markdown]
# ## The release
#
# Two noised sums over all patients are the only thing that is learned from the records. On records that are not
# public, each such call costs the patients anew: `synthesize` keeps no ledger.

# %%
release = synthesize(patients, schema, Budget.from_epsilon(1.0))
records = release.records()
print(records.head().to_string())

# %% [markdown]
# More rows cost nothing, since they are drawn from the same release.

# %%
more = release.records(24_000)
print(f"{len(more):,} rows")

# %% [markdown]
# ## What the receipt says
#
# `mu` is the guarantee: no test tells the records of one patient from any others better than it tells N(0, 1)
# from N(mu, 1).

# %%
receipt = release.receipt
print(f"mu {receipt['mu']:.3f}: epsilon {receipt['epsilon']:.2f} at delta {receipt['delta']:.0e}")
for statement in receipt["statements"]:
    sigma, sensitivity = float(statement["sigma"]), float(statement["sensitivity2"]) ** 0.5
    print(f"{statement['dimension']:,} sums; noise is {sigma / sensitivity:.1f} times what one patient can change")

ALARMS = 0.05
found = gdp.detection_rate(receipt["mu"], ALARMS)
bound = ceil(1000 * found) / 10  # an upper bound is rounded up
print(f"An attacker who accuses {ALARMS:.0%} of other people falsely finds at most {bound} % of these patients.")

# %% [markdown]
# ## How good is it?
#
# A comparison with the real records is not private, and is for whoever holds them. Here the records are public.

# %%
for column in ("AGE", "RSBP"):
    real, synthetic = patients[column].mean(), records[column].astype(float).mean()
    print(f"mean {column}: {real:.1f} in the real records, {synthetic:.1f} in the synthetic ones")
for name, table in (("real", patients), ("synthetic", records)):
    poor = table["outcome"].eq("dead_or_dependent").groupby(table["RCONSC"].astype(str)).mean()
    print(f"dead or dependent, {name}: " + ", ".join(f"{state} {share:.0%}" for state, share in poor.items()))

# %% [markdown]
# The condensed set, with weights, for models that take them; and its support points, a classifier by
# themselves.

# %%
print(release.centroids.iloc[:3, :5].to_string())
print(release.support.predict_proba(records.head(3)).round(2), schema.classes)
