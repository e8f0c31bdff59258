"""What the vault may be asked: one file per question, with its bounds, its contribution and its proof.

May import `core.data` alone. `question` holds the closed set; `class_marginals` and `pair_tables` are about cells,
`level_sum`, `level_moment` and `class_moment` about signed numbers; `plain_data`, `rows`, `coordinates` and
`lattice` are what they share.
"""
