"""What the vault may be asked: one file per question: bounds, contribution, and how the proof applies to it.

May import `core.data` alone. `question` holds the closed set; `class_marginals` and `pair_tables` are about cells,
`level_sum`, `level_moment` and `class_moment` about signed numbers; `plain_data`, `coordinates` and `lattice`
are what they share.
"""
