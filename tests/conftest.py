"""What most tests stand on: a small clip whose true layers, mappings, opacities and light are known."""

from __future__ import annotations

import importlib.util
import shutil
import signal
import threading
from pathlib import Path

import pytest

from atlas.clip.clip import Clip
from atlas.sample.files import write_clip, write_truth_fit
from atlas.sample.scene import Sample, make_sample

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
    # As shells start what runs in the background: the commands that tests interrupt would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)

SLOW = (
    "aggregate/test_explained.py",
    "aggregate/test_repainted.py",
    "aggregate/test_stage.py",
    "atlas/evaluation/test_learned.py",
    "atlas/evaluation/test_report.py",
    "atlas/evaluation/test_stage.py",
    "atlas/fitting/test_deleted.py",
    "atlas/fitting/test_stage.py",
    "atlas/masks/learned/test_detector.py",
    "atlas/masks/learned/test_follow.py",
    "atlas/masks/learned/test_prompted.py",
    "atlas/masks/learned/test_salient.py",
    "atlas/nla",
    "atlas/preparation/test_stage.py",
    "atlas/rendering/test_full_size.py",
    "atlas/rendering/test_picture_and_sound.py",
    "atlas/video/test_sound.py",
    "edit/test_prompt_command.py",
    "scripts/benchmarks/architectures",
    "scripts/benchmarks/damage",
    "scripts/benchmarks/edits",
    "scripts/benchmarks/test_bench.py",
    "scripts/benchmarks/test_parts.py",
    "scripts/jobs/test_job.py",
    "scripts/batches/test_batch.py",
    "scripts/comfyui",
    "scripts/pipeline",
    "scripts/plans/engines",
    "scripts/plans/store/test_driver.py",
    "scripts/plans/store/test_stage.py",
    "scripts/plans/worker/test_worker.py",
    "scripts/sweeps/test_sweep.py",
    "scripts/test_help.py",
    "scripts/webapp/pages",
    "scripts/webapp/test_painting.py",
    "scripts/webapp/test_pictures.py",
    "scripts/test_test.py",
    "scripts/webapp/test_work.py",
)
"""Modules and folders of tests that fit, merge, evaluate or start commands: `scripts/test.py --quick` leaves them out.

A single test elsewhere says so itself: `@pytest.mark.slow`.
"""
SLOW_FIXTURES = {"models"}
"""What takes long to make or to use: models of diffusers, however tiny."""


@pytest.hookimpl(tryfirst=True)  # before -m chooses by the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that are slow by what they do."""
    here = Path(__file__).parent
    slow = [here / name for name in SLOW]
    for item in items:
        within = (item.path, *item.path.parents)
        if SLOW_FIXTURES & set(getattr(item, "fixturenames", ())) or any(path in within for path in slow):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No repository is in the hub's cache, whatever stands in the user's own: in this process and in those it starts."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    if importlib.util.find_spec("huggingface_hub") is not None:
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.fixture(scope="session")
def sample() -> Sample:
    """12 frames of 96x64 with one object. Shared: do not change its arrays."""
    return make_sample(frames=12, height=64, width=96, objects=1, seed=0)


@pytest.fixture(scope="session")
def sample_two() -> Sample:
    """12 frames of 96x64 with two objects. Shared: do not change its arrays."""
    return make_sample(frames=12, height=64, width=96, objects=2, seed=0)


@pytest.fixture(scope="session")
def sample_clip(sample: Sample, tmp_path_factory: pytest.TempPathFactory) -> Clip:
    """`sample` as a prepared clip with the finished fit "truth". Shared: only read it (`fresh_clip` is yours)."""
    clip = write_clip(sample, tmp_path_factory.mktemp("clip") / "sample")
    write_truth_fit(sample, clip, "truth")
    return clip


@pytest.fixture(scope="session")
def sample_clip_two(sample_two: Sample, tmp_path_factory: pytest.TempPathFactory) -> Clip:
    """`sample_two` as a prepared clip with the finished fit "truth". Shared: only read it."""
    clip = write_clip(sample_two, tmp_path_factory.mktemp("clip-two") / "sample")
    write_truth_fit(sample_two, clip, "truth")
    return clip


@pytest.fixture
def fresh_clip(sample_clip: Clip, tmp_path: Path) -> Clip:
    """A copy of `sample_clip` that a test may change."""
    shutil.copytree(sample_clip.folder, tmp_path / "clip")
    return Clip.open(tmp_path / "clip")


@pytest.fixture
def fresh_clip_two(sample_clip_two: Clip, tmp_path: Path) -> Clip:
    """A copy of `sample_clip_two` that a test may change."""
    shutil.copytree(sample_clip_two.folder, tmp_path / "clip-two")
    return Clip.open(tmp_path / "clip-two")
