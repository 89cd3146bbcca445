"""The notation of prompts: weights, nesting, escapes, BREAK, and what is refused."""

from __future__ import annotations

import pytest

from atlas.errors import UserError
from edit.prompts.syntax import is_plain, parsed


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a red car", [[("a red car", 1)]]),
        ("a (red) car", [[("a ", 1), ("red", 1.1), (" car", 1)]]),
        ("a ((red)) car", [[("a ", 1), ("red", 1.21), (" car", 1)]]),
        ("(red:1.5)", [[("red", 1.5)]]),
        ("(red : .5 ) car", [[("red ", 0.5), (" car", 1)]]),
        ("[red] car", [[("red", 1 / 1.1), (" car", 1)]]),
        ("(a [b] c:2)", [[("a ", 2), ("b", 2 / 1.1), (" c", 2)]]),
        ("(a (b:2) c)", [[("a ", 1.1), ("b", 2.2), (" c", 1.1)]]),
        (r"a \(b\) \[c\] d\\", [[("a (b) [c] d\\", 1)]]),
        (r"a \[b|c\] d \[e:0.5\]", [[("a [b|c] d [e:0.5]", 1)]]),  # as the refusal of steps advises
        ("a cat :) at 10:30) b]", [[("a cat :) at 10:30) b]", 1)]]),
        ("a: b, c\\d", [[("a: b, c\\d", 1)]]),
        ("a BREAK (b BREAK c:1.2)", [[("a", 1)], [("b", 1.2)], [("c", 1.2)]]),
        ("a BREAKFAST", [[("a BREAKFAST", 1)]]),
        ("a BAND and ANDY", [[("a BAND and ANDY", 1)]]),
        ("", [[]]),
    ],
)
def test_fragments_and_their_weights(prompt: str, expected: list[list[tuple[str, float]]]) -> None:
    found = [[(fragment.text, pytest.approx(fragment.weight)) for fragment in part] for part in parsed(prompt)]
    assert found == expected


@pytest.mark.parametrize("prompt", ["", "a red car, 4k", "a :) b: c", "24:30"])
def test_plain_text(prompt: str) -> None:
    assert is_plain(prompt) and not any(map(is_plain, (f"{prompt}(x)", f"{prompt} BREAK x", rf"{prompt}\(")))


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("a (red car", r"has a \( that is not closed"),
        ("a [red car", r"has a \[ that is not closed"),
        ("(red:11)", "weight of 11: choose from -10 to 10"),
        ("<lora:style:0.8> a car", "give LoRAs with --lora"),
        ("a [cat:dog:0.5]", "changes between steps"),
        ("a [cat|dog] b", "changes between steps"),
        (r"a \[b\] [cat|dog] c", "changes between steps"),
        ("a cat AND a dog", r"joins several by AND \('AND a dog'\)"),
        ("a cat :1.2 AND a (dog) :0.8", "joins several by AND"),
    ],
)
def test_what_is_refused(prompt: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        parsed(prompt)
