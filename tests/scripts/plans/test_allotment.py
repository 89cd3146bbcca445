"""What tasks are given, and where they compute."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.plans.allotment import Allotment
from scripts.plans.chain import Chains, ClipEntry
from scripts.plans.plan import Plan, Resources

CLIP = ClipEntry("swan", Path("/clips/swan"), None)


@pytest.mark.parametrize(
    ("allotment", "options", "devices", "gpus"),
    [
        (Allotment(), {}, [], 0),
        (Allotment(device="cpu"), {}, ["--device=cpu"], 0),
        (Allotment(device="cuda", gpus=0.5), {}, ["--device=cuda"], 0.5),
        (Allotment(device="cuda", gpus=0.5), {"device": "cpu"}, ["--device=cpu"], 0),
        (Allotment(device="cpu", gpus=0.5), {"device": "cuda"}, ["--device=cuda"], 0.5),
        (Allotment(device="cuda", gpus=1), {"device": "auto"}, ["--device=auto", "--device=cuda"], 1),
    ],
)
def test_the_device_of_a_stage(allotment: Allotment, options: dict[str, str], devices: list[str], gpus: float) -> None:
    (fit,) = Chains(Plan(), allotment).fit(CLIP, options=options)
    assert [word for word in fit.command if word.startswith("--device")] == devices
    assert fit.resources == Resources(allotment.cores, gpus)


def test_a_task_keeps_its_name_wherever_it_runs() -> None:
    plans = [Chains(Plan(), one).fit(CLIP) for one in (Allotment(), Allotment(4, 8000, "cpu"), Allotment(1, 2000, "cuda", 1))]
    assert len({fit.id for (fit,) in plans}) == 1


def test_what_no_gpu_is_for_takes_none() -> None:
    chains = Chains(Plan(), Allotment(device="cuda", gpus=1))
    (shared,) = chains.share(CLIP, "a", "b", [])
    (prepared,) = chains.prepare(ClipEntry("swan", Path("/clips/swan"), Path("/videos/swan.mp4")))
    assert not shared.resources.gpus and not any("device" in word for word in shared.command)
    assert not prepared.resources.gpus and prepared.command[-1] == "--device=cpu"
