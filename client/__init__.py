"""The hospital: it answers a study's signed requests with signed, differentially private releases.

May import `core` and `protocol`, never `server`; only `deploy` imports it. `README.md` says what each folder is
for.
"""
