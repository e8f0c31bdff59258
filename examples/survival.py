# %% [markdown]
# # Time to an event
#
# From a table with a follow-up to synthetic records, a Kaplan-Meier plot and a table of hazard ratios. The table
# is made here, so that the true hazard ratios are known. It needs scikit-survival:
# `pip install 'cohortmix[survival]'`.

# %%
from pathlib import Path

import numpy as np
import pandas as pd
from sksurv.linear_model import CoxPHSurvivalAnalysis
from sksurv.nonparametric import kaplan_meier_estimator
from sksurv.util import Surv

from cohortmix.client.local.plot import draw
from cohortmix.core import Budget, Schema, synthesize
from cohortmix.core.release.lost_in_words import paragraph
from cohortmix.core.utility.evaluate import evaluate

TRUE = {"age, by 10 years": 1.4, "stage II": 1.8, "stage III": 3.5, "treated": 0.6}  # hazard ratios
rng, rows = np.random.default_rng(0), 4_000
age = rng.integers(40, 90, rows)
stage = rng.choice(["I", "II", "III"], rows, p=[0.5, 0.3, 0.2])
arm = rng.choice(["control", "treated"], rows)
hazard = (
    TRUE["age, by 10 years"] ** ((age - 65) / 10)
    * np.select([stage == "II", stage == "III"], [TRUE["stage II"], TRUE["stage III"]], 1.0)
    * np.where(arm == "treated", TRUE["treated"], 1.0)
)
dies, leaves = rng.exponential(1500 / hazard), rng.uniform(200, 2500, rows)
patients = pd.DataFrame(
    {
        "AGE": age,
        "STAGE": stage,
        "ARM": arm,
        "DAYS": np.ceil(np.minimum(dies, leaves)),
        "DEATH": np.where(dies <= leaves, "yes", "no"),
    }
)
print(f"{rows:,} patients, of whom {np.mean(dies <= leaves):.0%} died while they were followed")

# %% [markdown]
# ## The schema
#
# `target` names the time and the event. A patient whose `DEATH` is `no` was followed until `DAYS` and then left:
# censored. Records are divided by the event and by slices of the time, whose cut points are public knowledge; the
# time itself is a column like others within them.

# %%
SCHEMA = """
name: follow-up
target: {time: DAYS, event: DEATH}
columns:
  AGE:   {type: number, min: 18, max: 100, integer: true, unit: years}
  STAGE: {type: category, values: [I, II, III]}
  ARM:   {type: category, values: [control, treated]}
  DAYS:  {type: number, min: 1, max: 2500, integer: true, unit: days, slices: [180, 365, 730, 1460]}
  DEATH: {type: category, values: [no, yes]}
"""
schema = Schema.from_yaml(SCHEMA)

# %% [markdown]
# ## The release

# %%
release = synthesize(patients, schema, Budget.from_epsilon(1.0))
records = release.records(10_000)
print(records.head().to_string())
print(f"mu {release.receipt['mu']:.3f}; {paragraph(release.lost) or 'nothing was lost'}")

# %% [markdown]
# ## Kaplan-Meier
#
# How many are still alive at times that matter. This can be drawn of synthetic records alone.


# %%
def alive(table: pd.DataFrame, day: int) -> float:
    """The share of patients who are alive on a day of the follow-up."""
    times, shares = kaplan_meier_estimator(table["DEATH"].astype(str) == "yes", table["DAYS"].astype(float))
    return float(shares[times <= day][-1])


for name, arm_records in records.groupby("ARM", observed=True):
    print(f"{name}: " + ", ".join(f"{alive(arm_records, day):.0%} alive after {day} days" for day in (365, 1095)))

# %% [markdown]
# Beside the real curves it is a figure on real records: for whoever holds them, and not private. Here the records
# were made.

# %%
report = evaluate(records, patients, schema, strata="ARM")
Path("survival.svg").write_text(draw(report), encoding="utf-8")
(outcome,) = report["targets"]
print(f"largest distance of the curves: {outcome['curves']['distance']:.3f} (survival.svg)")

# %% [markdown]
# ## Hazard ratios
#
# Cox's model, in the same way of either table. An interval that is computed of the synthetic records leaves the
# noise out, so there is none here: confirm a hazard ratio on real patients.


# %%
def hazard_ratios(table: pd.DataFrame) -> list[float]:
    """Of Cox's model, in the order of TRUE."""
    x = np.column_stack(
        [
            table["AGE"].astype(float) / 10,
            table["STAGE"].astype(str) == "II",
            table["STAGE"].astype(str) == "III",
            table["ARM"].astype(str) == "treated",
        ]
    ).astype(float)
    y = Surv.from_arrays(table["DEATH"].astype(str) == "yes", table["DAYS"].astype(float))
    return [float(ratio) for ratio in np.exp(CoxPHSurvivalAnalysis(ties="efron").fit(x, y).coef_)]


ratios = pd.DataFrame(
    {"true": TRUE.values(), "real": hazard_ratios(patients), "synthetic": hazard_ratios(records)}, index=list(TRUE)
)
print(ratios.round(2).to_string())
