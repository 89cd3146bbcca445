"""Prompts: the grammar of --masks points:..., box:... and text:..., and which layers they make."""

from __future__ import annotations

import pytest

from atlas.errors import UserError
from atlas.masks.box import Box
from atlas.masks.learned.prompts import (
    Asked,
    Point,
    Prompt,
    check_prompts,
    joined,
    layers_of,
    parse_prompts,
    prompts_text,
)


def asked(text: str) -> tuple[Asked, ...]:
    found = parse_prompts(text)
    assert found is not None
    return found


def test_what_is_asked_for() -> None:
    assert asked("points:3:10,20.5,-0,40") == (Asked("", ((3, Prompt((Point(10, 20.5), Point(0, 40, inside=False)))),)),)
    assert asked("box:1,2,30,40") == (Asked("", ((0, Prompt(box=Box(1, 2, 30, 40))),)),)
    assert asked('text:"a black swan"') == asked("text: a black swan") == (Asked(words="a black swan"),)
    two = asked("swan=points:0:1,2;7:-3,4;duck=box:5,6,7,8;swan=points:0:9,9")
    swan = Asked("swan", ((0, Prompt((Point(1, 2), Point(9, 9)))), (7, Prompt((Point(3, 4, inside=False),)))))
    assert two == (swan, Asked("duck", ((0, Prompt(box=Box(5, 6, 7, 8))),)))
    assert asked(prompts_text(two)) == two


@pytest.mark.parametrize("text", ["auto", "none", "folder/of masks", "C:/masks", "points", "film.mp4"])
def test_other_texts_are_left_to_others(text: str) -> None:
    assert parse_prompts(text) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("points:0:", "not understood at '0:'"),
        ("points:0:1", "not understood at '0:1'"),
        ("points:0:1,2,3", "not understood"),
        ("points:0:1,-2", "not understood"),
        ("points:0:1,nan", "not understood"),
        ("points:one:1,2", "not understood"),
        ("points:-1:1,2", "not understood"),
        ("points:1,2", "not understood"),
        ("points:0:1,2;", "not understood at ''"),
        ("box:1,2,3", "not understood"),
        ("box:1,2,3,4;0:1,2", "not understood"),
        ("text:", "nothing to look for"),
        ('text:""', "nothing to look for"),
        ("text:" + 300 * "a", "more than 200 letters"),
        ("text:a\x1b[2J", "nothing to look for"),
        ("text:a;text:b", "asks twice for one object"),
        ("a/b=points:0:1,2", "cannot name a layer"),
        ("background=points:0:1,2", "cannot name a layer"),
        (";".join(f"o{n}=points:0:1,2" for n in range(40)), "asks for 40 objects"),
    ],
)
def test_what_is_not_understood(text: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as problem:
        parse_prompts(text)
    assert "\n" not in str(problem.value) and len(str(problem.value)) < 300


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("points:12:1,2", "frames are 0 to 11"),
        ("points:0:96,2", "96,2 of frame 0 is outside: give pixels of the source, which is 96x64"),
        ("points:0:1,2;5:1,64", "1,64 of frame 5 is outside"),
        ("box:0,0,96,65", "does not lie inside the 96x64 frame"),
    ],
)
def test_what_is_not_there(text: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        check_prompts(asked(text), 12, 96, 64)


def test_layers_front_to_back() -> None:
    point = Prompt((Point(1, 2),))
    assert layers_of(asked("points:0:1,2"), {}) == {"foreground": ((0, point),)}
    assert list(layers_of(asked("swan=points:0:1,2;points:3:1,2"), {})) == ["swan", "foreground"]
    boxes = [(2, Box(0, 0, 9, 9)), (2, Box(20, 0, 9, 9))]
    assert list(layers_of(asked("text:cow"), {"cow": boxes})) == ["foreground-1", "foreground-2"]
    assert list(layers_of(asked("text:cow"), {"cow": boxes[:1]})) == ["foreground"]
    assert list(layers_of(asked("c=text:cow;d=text:dog"), {"cow": boxes, "dog": boxes[:1]})) == ["c-1", "c-2", "d"]
    corrected = layers_of(asked("c=text:cow;c-2=points:5:-1,2"), {"cow": boxes})
    assert corrected == {
        "c-1": ((2, Prompt(box=boxes[0][1])),),
        "c-2": ((2, Prompt(box=boxes[1][1])), (5, Prompt((Point(1, 2, inside=False),)))),
    }
    with pytest.raises(UserError, match="c-1 and c-2"):
        layers_of(asked("c=text:cow;c=points:5:1,2"), {"cow": boxes})
    with pytest.raises(UserError, match="points lie beside the object"):
        layers_of(asked("points:0:-1,2;5:3,4"), {})


def test_points_are_added_to_what_was_asked_for_before() -> None:
    first, more = asked("points:0:1,2"), asked("points:5:-3,4")
    both = asked("points:0:1,2;5:-3,4")
    assert joined(first, more, ["foreground"]) == both
    assert joined(both, more, ["foreground"]) == both  # said again, it changes nothing
    assert joined(first, asked("foreground=points:5:-3,4"), ["foreground"]) == both
    assert joined(asked("swan=points:0:1,2"), more, ["swan"]) == asked("swan=points:0:1,2;5:-3,4")
    assert layers_of(joined(asked("text:cow"), more, ["foreground"]), {"cow": [(0, Box(0, 0, 9, 9))]}) == {
        "foreground": ((0, Prompt(box=Box(0, 0, 9, 9))), (5, Prompt((Point(3, 4, inside=False),))))
    }
    two = joined(first, asked("duck=points:3:7,8"), ["foreground"])
    assert list(layers_of(two, {})) == ["foreground", "duck"]
    with pytest.raises(UserError, match="several objects: say which one, as foreground="):
        joined(two, more, ["foreground", "duck"])
