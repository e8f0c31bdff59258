"""Does the guarantee hold? For public tables only, whose exact answers an audit looks at.

`replay` runs the mechanism on the `pairs` of tables that `neighbours` makes; `lower_bound`, `whole` and `one_run`
bound mu from draws of the noise, from whole releases and from a single one; `audit` does all of it. Imported by
the command `audit`; for test noise (`noise_keyed`) by `synthesize` and the simulation as well.
"""
