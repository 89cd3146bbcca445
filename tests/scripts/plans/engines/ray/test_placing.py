"""Which node a task goes to."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.plans.engines.ray.placing import Node, Placing
from scripts.plans.options import arguments_of
from scripts.plans.plan import Resources, Task


def task(clip: str, *words: str, resources: Resources = Resources()) -> Task:  # noqa: B008
    return Task.of("fit", [clip, *words], Path(clip), f"fit {clip}", resources=resources)


def prompted(clip: str, **options: object) -> Task:
    """An edit by a prompt, as plans make it."""
    words = arguments_of("edit", {"editor": "diffusion", "prompt": "gold"} | options)
    return Task.of("edit", ["scripts/edit.py", clip, *words], Path(clip), f"edit {clip}")


def placing(*nodes: Node) -> Placing:
    made = Placing()
    made.update(nodes)
    return made


def put(on: Placing, one: Task) -> str | None:
    """Place a task and count it as started."""
    placed = on.place(one)
    if placed:
        on.started(one, *placed)
    return placed and placed[0]


def test_a_clip_stays_where_it_was_as_long_as_there_is_room() -> None:
    on = placing(Node("a", 2, 0, 8000), Node("b", 2, 0, 8000))
    first, second = task("swan"), task("car")
    assert {put(on, first), put(on, second)} == {"a", "b"}  # the emptiest
    again = on.place(task("car", "edit"))
    assert again and again[0] == "b"
    assert put(on, task("car", "1")) == "b" and put(on, task("car", "2")) == "a" and put(on, task("car", "3")) is None
    on.ended(first.id)
    assert put(on, task("car", "4")) == "a"


def test_weights_stay_too_and_the_plan_s_own_node_is_spared() -> None:
    on = placing(Node("ours", 4, 0, 8000, is_ours=True), Node("a", 4, 0, 8000), Node("b", 4, 0, 8000))
    first, other = prompted("1", controlnet=("canny",)), prompted("2", controlnet=("depth",))
    before = put(on, first), put(on, other)
    assert sorted(map(str, before)) == ["a", "b"]
    for clip in "345":
        assert put(on, prompted(clip, controlnet=("depth",), prompt=f"a {clip}", seed=int(clip))) == before[1]
    assert put(on, prompted("6", controlnet=("depth",))) == before[0]  # there is no room any more


def test_parts_of_gpus_add_up() -> None:
    on = placing(Node("cpu", 8, 0, 8000), Node("gpu", 8, 1, 80000))
    third = Resources(gpus=1 / 3)
    assert [put(on, task(str(clip), resources=third)) for clip in range(4)] == ["gpu", "gpu", "gpu", None]
    assert put(on, task("4")) == "cpu"
    assert on.lacks(task("5", resources=Resources(gpus=2))) == "2 GPU" and not on.lacks(task("5", resources=third))
    assert placing(Node("head", 0, 0, 8000)).lacks(task("1")) == "a core for stages"


def test_what_no_node_holds_takes_all_of_one() -> None:
    on = placing(Node("small", 2, 0, 1000), Node("large", 4, 0, 3000))
    assert on.place(task("1", resources=Resources(8, memory_mb=9000))) == ("large", Resources(4, memory_mb=3000))
    assert on.place(task("1", resources=Resources(1, memory_mb=2000))) == ("large", Resources(1, memory_mb=2000))


@pytest.mark.parametrize("comes_back", [False, True])
def test_nodes_come_and_go(comes_back: bool) -> None:
    nodes = Node("a", 1, 0, 4000), Node("b", 1, 0, 4000)
    on = placing(*nodes)
    tasks = [task("1"), task("2")]
    where = {put(on, one): one for one in tasks}
    on.update(nodes[:1])
    on.ended(where["b"].id)
    assert on.place(task("3")) is None  # a is taken, b is gone
    if comes_back:
        on.update(nodes)
        assert put(on, task("3")) == "b"
    on.ended(where["a"].id)
    assert put(on, task("4")) == "a"
