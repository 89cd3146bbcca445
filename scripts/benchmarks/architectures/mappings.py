"""Architectures of the mapping side by side: from one registered start, with the same seconds of gradient steps.

Seconds are processor time of this process, so that what else the machine does counts for nobody; with one thread they are
what a quiet machine's clock shows.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from atlas.clip.clip import Clip
from atlas.evaluation.stage import reconstruction
from atlas.fitting import solve
from atlas.fitting.data import FitData
from atlas.fitting.outputs import write_layers, write_maps
from atlas.fitting.presets import FitConfig, preset
from atlas.fitting.refine import Refiner
from atlas.fitting.run import FitRun
from atlas.maps.maps import Maps
from atlas.metrics.mapping import VISIBLE, flow_disagreement, mapping_accuracy, open_truth
from atlas.model.checkpoint import build_model
from atlas.model.layered import LayeredAtlas
from atlas.quality.job import FitJob
from atlas.storage.stamps import digest
from atlas.system.progress import Progress

EPOCHS = 2
"""Times that the gradient steps are followed by closed-form passes for atlases and light."""
PASSES = 2
"""Closed-form passes for the atlases in each epoch, and once more at the end."""
GRID_ONLY_RATE = 3e-5
"""Learning rate of control grids, in uv, where they are all that learns."""


def architectures(base: FitConfig) -> dict[str, FitConfig | None]:
    """What is compared, by name. None: the registered start, which gets the closed-form passes but no gradient step."""
    network = base.mapping
    return {
        "start": None,
        "network": replace(base, mapping=replace(network, encoding="frequency")),
        "grids": replace(base, mapping=replace(network, encoding="none"), offset_learning_rate=GRID_ONLY_RATE),
        "hash": replace(base, mapping=replace(network, encoding="hash")),
    }


def registered_start(clip: Clip, folder: Path, seed: int, *, quiet: bool) -> FitRun:
    """A fit of the standard preset up to its first gradient step, kept in `folder` and taken from there the next time."""
    config = replace(preset("standard", seed), epochs=0)
    made_from = digest(config.to_dict(), clip.layers, clip.folder / "frames", clip.folder / "masks")
    run = FitRun(FitJob(clip, folder, made_from, torch.device("cpu"), quiet=quiet), config)
    run.begin()
    run.finish()
    return run


def compare_mappings(
    run: FitRun, seconds: float, folder: Path, truth: Path | None, names: list[str], *, quiet: bool
) -> dict[str, dict[str, Any]]:
    """Refine the start of `run` with each architecture; the figures of each, by name. `folder` holds maps meanwhile."""
    results: dict[str, dict[str, Any]] = {}
    base = replace(run.config, epochs=EPOCHS)
    for name in Progress(names, "architectures", unit="fit", quiet=quiet):
        config = architectures(base)[name]
        model = _beginning(run, config or base)
        row = refine_for(model, run.data, config, seconds, folder) if config else _settle(model, run.data, folder)
        write_layers(model, run.clip, folder)
        results[name] = row | measured(run.clip, Maps(folder), truth)
    return results


def _beginning(run: FitRun, config: FitConfig) -> LayeredAtlas:
    """The start's tracks, atlases and light under fresh networks."""
    assert run.model is not None
    model = build_model(run.model.shape, config.mapping, config.opacity, config.seed)
    kept = {name: value for name, value in run.model.state_dict().items() if ".correction." not in name}
    model.load_state_dict(kept, strict=False)
    return model


def refine_for(model: LayeredAtlas, data: FitData, config: FitConfig, seconds: float, folder: Path) -> dict[str, float]:
    """Gradient steps for `seconds`, in epochs as the fit has them; how many there were and how many samples a second."""
    refiner, device = Refiner(model, config, 1), torch.device("cpu")
    refiner.seconds_per_step(data, device)  # what is set up once is nobody's
    index, spent = 0, 0.0
    for epoch in range(EPOCHS):
        while spent < seconds * (epoch + 1) / EPOCHS:
            began = time.process_time()
            # The learning rate falls with the time that is spent, as it does with the steps of a fit.
            refiner.total = max(index + 1, round(index * seconds / spent)) if spent else 1_000_000
            refiner.step(data, index, device)
            spent += time.process_time() - began
            index += 1
        _settle(model, data, folder)
    size = min(config.patch_size, data.clip.height, data.clip.width)
    return {"steps": index, "samples_per_second": index * config.patches * size * size / spent}


def _settle(model: LayeredAtlas, data: FitData, folder: Path) -> dict[str, float]:
    """Atlases and light in closed form for the mapping as it is."""
    write_maps(model, data, folder)
    frames = solve.FrameSet(lambda t: data.colours[t], Maps(folder), model, torch.device("cpu"))
    for _ in range(PASSES):
        solve.improve_atlases(frames)
    solve.solve_light(frames)
    solve.improve_atlases(frames)
    return {"steps": 0, "samples_per_second": 0.0}


def measured(clip: Clip, maps: Maps, truth: Path | None) -> dict[str, Any]:
    """PSNR, folds, disagreement with the flow, and accuracy where the truth is known: per layer and for the whole."""
    scores = reconstruction(clip, maps)
    layers: dict[str, dict[str, float]] = {}
    for layer, values in scores["layers"].items():
        median, p90 = flow_percentiles(clip, maps, layer)
        layers[layer] = {"psnr": values["psnr"], "folded": values["fold_share"], "flow_median": median, "flow_p90": p90}
    if truth is not None:
        for layer, accuracy in mapping_accuracy(maps, open_truth(truth, maps)).items():
            layers[layer] |= {"truth_median": accuracy.median, "truth_p90": accuracy.p90}
    return {"psnr": scores["whole"]["psnr"], "layers": layers}


def flow_percentiles(clip: Clip, maps: Maps, layer: str, step: int = 2) -> tuple[float, float]:
    """Median and 90th percentile over all frames of a layer's disagreement with the clip's forward flow, in pixels."""
    flow, validity = clip.flow("forward"), clip.flow_validity("forward")
    of_frames = []
    for t in range(clip.frames - 1):
        here, there = maps.opacity(layer, t) > VISIBLE, maps.opacity(layer, t + 1) > VISIBLE
        uv, following = maps.uv(layer, t), maps.uv(layer, t + 1)
        of_frames.append(flow_disagreement(uv, following, here, there, np.asarray(flow[t]), np.asarray(validity[t]), step))
    distances = np.concatenate(of_frames)
    if not len(distances):
        return math.nan, math.nan
    median, p90 = np.percentile(distances, (50, 90))
    return float(median), float(p90)


_OF_THE_WHOLE = {"steps": "d", "samples_per_second": ".0f", "psnr": ".2f"}
_OF_A_LAYER = {
    "psnr": ".2f", "folded": ".3%", "flow_median": ".3f", "flow_p90": ".3f", "truth_median": ".3f", "truth_p90": ".3f",
}  # fmt: skip


def table(results: dict[str, dict[str, Any]]) -> str:
    """The figures of `compare_mappings` as a Markdown table for the whole frame and one for each layer."""
    tables = [_table("whole frame", results, _OF_THE_WHOLE)]
    for layer in next(iter(results.values()))["layers"]:
        tables.append(_table(layer, {name: row["layers"][layer] for name, row in results.items()}, _OF_A_LAYER))
    return "\n\n".join(tables)


def _table(title: str, rows: dict[str, dict[str, float]], forms: dict[str, str]) -> str:
    known = [name for name in forms if name in next(iter(rows.values()))]
    lines = [f"| {title} | {' | '.join(name.replace('_', ' ') for name in known)} |", "|---|" + "---:|" * len(known)]
    lines += [f"| {name} | {' | '.join(format(row[key], forms[key]) for key in known)} |" for name, row in rows.items()]
    return "\n".join(lines)
