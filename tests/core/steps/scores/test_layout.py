"""Layout: every bin and every score has one place, and an empty place says nothing."""

from __future__ import annotations

import numpy as np

from cohortmix.core.steps.scores.layout import NEVER, Alike, Layout

SIZES = (3, 2, 7, 2, 4, 5, 3)
COLUMNS = np.array([0, 0, 1, 2, 3, 4, 4, 4, 6])  # the fifth has no score
RNG = np.random.default_rng(0)
MARGINS = np.concatenate([RNG.dirichlet(np.ones(size), 2) for size in SIZES], axis=1)
VALUES = np.zeros((sum(SIZES), len(COLUMNS)))
STARTS = np.cumsum((0, *SIZES))
for _score, _column in enumerate(COLUMNS):
    VALUES[STARTS[_column] : STARTS[_column + 1], _score] = RNG.normal(size=SIZES[_column])


def test_what_is_laid_out_comes_back() -> None:
    layout = Layout.of(SIZES, COLUMNS)
    alike = [Alike.of(kind, MARGINS, VALUES) for kind in layout.kinds]
    flat = np.concatenate([np.asarray(each.margins).reshape(-1, 2) for each in alike])
    np.testing.assert_allclose(flat[layout.bin].T, MARGINS, rtol=1e-6)
    assert len(set(layout.bin)) == sum(SIZES)
    assert not np.delete(flat, layout.bin, axis=0).any()
    entries = RNG.normal(size=(len(COLUMNS),) * 2)
    spread = np.asarray(layout.of_pairs(entries, 7.0))
    np.testing.assert_allclose(spread[np.ix_(layout.row, layout.row)], entries, rtol=1e-6)
    assert (spread == 7).sum() == layout.rows**2 - entries.size


def test_columns_of_one_kind_have_room_for_the_same() -> None:
    layout = Layout.of(SIZES, COLUMNS)
    assert [(kind.m, kind.k, len(kind.bins)) for kind in layout.kinds] == [
        (2, 1, 2),
        (4, 1, 1),
        (4, 2, 1),
        (4, 4, 1),
        (8, 1, 2),
    ]
    for kind in layout.kinds:
        each = Alike.of(kind, MARGINS, VALUES)
        for at, (bins, own) in enumerate(zip(kind.bins, kind.scores, strict=True)):
            np.testing.assert_allclose(
                each.values[at, : len(bins), : len(own)], VALUES[np.ix_(bins, own)], rtol=1e-6
            )
            assert not np.asarray(each.values[at, len(bins) :]).any()
            assert not np.asarray(each.values[at, :, len(own) :]).any()
            assert (np.asarray(each.logits[at, len(bins) :]) == NEVER).all()
            assert (np.asarray(each.logits[at, : len(bins)]) > -30).all()
