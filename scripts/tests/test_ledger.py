"""Gaps and overlaps in what a stream's answers cover."""

from __future__ import annotations

import pytest

from load_test.ledger import CoverageLedger, Gap


@pytest.mark.parametrize(
    ("spans", "sent", "gaps"),
    [
        ([(0, 3.2), (3.2, 5)], 5.0004, []),
        ([], 0, []),
        ([(0.5, 3.2), (3.2, 5)], 5, [Gap("lost", 0, 0.5)]),
        ([(0, 2), (3, 5)], 5, [Gap("lost", 2, 1)]),
        ([(0, 5)], 7.5, [Gap("lost", 5, 2.5)]),
        ([(0, 5), (4, 6)], 6, [Gap("doubled", 4, 1)]),
        # sent again whole: what follows is in order
        ([(0, 5), (0, 5), (5, 6)], 6, [Gap("doubled", 0, 5)]),
        # covers what was never sent
        ([(0, 5)], 4, [Gap("doubled", 4, 1)]),
        ([], 3, [Gap("lost", 0, 3)]),
    ],
)
def test_spans_must_tile_what_was_sent(spans: list[tuple[float, float]], sent: float, gaps: list[Gap]) -> None:
    ledger = CoverageLedger()
    for start, end in spans:
        ledger.cover(start, end)
    ledger.close(sent)
    assert ledger.gaps == gaps
    assert ledger.total("lost") + ledger.total("doubled") == sum(gap.seconds for gap in gaps)
