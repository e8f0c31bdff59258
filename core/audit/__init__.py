"""Does the guarantee hold? For public tables only, whose exact answers an audit looks at.

`replay` runs the mechanism on the `pairs` of tables that `neighbours` makes; `lower_bound`, `whole` and `one_run`
bound mu from draws of the noise, from whole releases and from a single one; `audit` does all of it. Only commands
import this folder: the audit itself, and for test noise alone (`noise_keyed`) those that simulate.
"""
