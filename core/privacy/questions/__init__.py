"""What the vault may be asked: one file per question: bounds, contribution, and how the proof applies to it.

May import `core.data` alone. `question` holds the closed set; `class_marginals`, `pair_tables` and `sign_products`
are about cells, `level_sum`, `level_moment`, `class_moment` and `score_moment` about signed numbers; `plain_data`,
`coordinates` and `lattice` are what they share.
"""
