"""Products: what tables of pairs cannot say, from class means of products of the signs of three to five features.

`signs` chooses from released margins what is asked, `means` reads the answer. Which of the products go into the
model that records are drawn from is decided in `core.release`. Imports `core.data`, `core.privacy` and
`core.steps.scores`; released values only.
"""
