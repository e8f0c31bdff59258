"""Many hospital cohorts, mixed into one synthetic cohort in which every patient's trace is bounded.

The five packages below this name have folders of their own at the top of the repository: `cohortmix.core` (the
mechanism, for Python), `cohortmix.protocol`, `cohortmix.client`, `cohortmix.server` and `cohortmix.deploy`.
"""

__version__ = "0.1.0"
