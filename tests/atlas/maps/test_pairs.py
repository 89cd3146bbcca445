"""Pairs of keyframes that are compared: the nearest are, each once, and their number grows with that of the keyframes."""

from __future__ import annotations

from atlas.maps.pairs import compared, kept


def test_the_work_grows_with_the_number_of_keyframes() -> None:
    for count in (2, 5, 6, 12, 80):
        others = compared(count)
        pairs = [frozenset((place, other)) for place in range(count) for other in others[place]]
        assert len(set(pairs)) == len(pairs) <= 8 * count and all(len(pair) == 2 for pair in pairs)
        assert all({a, b} in pairs for a in range(count) for b in range(a + 1, min(a + 5, count)))
        assert count > 5 or len(pairs) == count * (count - 1) // 2
        assert all(len(kept(place, count)) <= 8 for place in range(count))
    assert len({frozenset((p, o)) for p, found in enumerate(compared(80)) for o in found if abs(p - o) > 4}) > 4 * 60


def test_what_a_pair_needs_is_still_held() -> None:
    for count in (3, 6, 30):
        held: set[int] = set()
        for place, others in enumerate(compared(count)):
            later = {other for other in others if other > place}  # drawn ones are read when they are first needed
            assert set(others) - later <= held
            held = (held | {place} | later) & kept(place, count)
