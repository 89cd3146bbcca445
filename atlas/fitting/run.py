"""A fit in progress: tracking, registration, closed-form passes and gradient steps as a list of small units.

After each unit the whole state is saved, so that a killed run continues where it was and ends with the same bytes.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from atlas.fitting import solve
from atlas.fitting.budget import Budget
from atlas.fitting.data import FitData, Look
from atlas.fitting.outputs import write_layers, write_maps
from atlas.fitting.presets import FitConfig
from atlas.fitting.refine import Refiner
from atlas.fitting.registration import COARSE, LIMIT, canvas_of, register_round, start_from_track
from atlas.fitting.tracking import Track, chain_background, chain_object, reference_frame
from atlas.maps.maps import Maps
from atlas.model.checkpoint import build_model, matching_model, save_model, shape_from_dict
from atlas.model.layered import LayeredAtlas, Shape
from atlas.quality.job import FitJob
from atlas.storage.run_state import Resumable, Unit, optimiser_tensors, restore_optimiser
from atlas.system.cost import Pace
from atlas.system.progress import Bar

CHUNK = 50
"""Gradient steps between two saves of the state."""
_LAST = ["atlas", "outputs"]
"""What ends every fit, as a budget of seconds knows it."""
_LEAST = ["start", "light", *_LAST]
"""What must follow a round of registration."""


class FitRun(Resumable):
    """A fit in progress: its units of work, and its state on disk. `begin` comes first, then `finish`."""

    data: FitData

    def __init__(self, job: FitJob, config: FitConfig) -> None:
        super().__init__(job.folder, job.made_from)
        self.clip, self.config, self.device, self.quiet = job.clip, config, job.device, job.quiet
        self.budget = None if job.seconds is None else Budget(job.began + job.seconds)
        # With a budget one round is made; whatever else is decided on when what comes before it is done. Epochs are short then.
        self.rounds = config.rounds[:1] if self.budget else config.rounds
        self.epochs, self.steps = (0, CHUNK) if self.budget else (config.epochs, config.steps)
        self.passes = config.passes
        """Closed-form passes before the gradient steps; none where a budget is spent by then: one comes at the end."""
        self.log: list[dict[str, Any]] = []
        self.pace = Pace()
        self.tracks: list[Track] = []
        self.model: LayeredAtlas | None = None
        self.refiner: Refiner | None = None
        self.maps_are_current = False

    def begin(self) -> None:
        """Take up a state of the same clip and plan, or decode the clip into the folder."""
        super().begin()
        self.data = FitData(self.clip, self.folder)

    # The plan

    def units(self) -> list[Unit]:
        """All work in order."""
        config, layers, budget = self.config, range(len(self.clip.layers)), bool(self.budget)
        start, maps = self._unit("start", self._start_model), self._unit("maps", self._update_maps)
        atlas, light = self._unit("atlas", self._improve_atlases), self._unit("light", self._solve_light)
        work = [Unit("chain", partial(self._chain, layer)) for layer in layers]
        for sigma in self.rounds:
            work += [self._unit("coarse round" if sigma >= COARSE else "round", partial(self._register, sigma))]
            work += [Unit("plan", self._plan_round)] * budget
        work += [start, light, *[Unit("plan", self._plan_passes)] * budget]
        work += [*[atlas] * self.passes, *[light] * (self.passes > 0)]
        work += [Unit("plan", self._plan_epoch)] * budget
        for epoch in range(self.epochs):
            begin, end = epoch * self.steps, (epoch + 1) * self.steps
            work += [self._unit("steps", partial(self._refine, a, min(a + CHUNK, end))) for a in range(begin, end, CHUNK)]
            work += [maps, *[atlas] * config.passes, light]
            work += [Unit("plan", self._plan_epoch)] * budget
        return [*work, atlas]

    def _unit(self, kind: str, do: Callable[[], None]) -> Unit:
        """A unit of work of a kind that the budget, where there is one, learns the cost of."""
        return Unit(kind, partial(self.budget.timed, kind, do) if self.budget else do)

    def finish(self) -> None:
        """Do all units that are left, saving after each."""
        with Bar(total=len(self.units()), initial=self.finished_units, desc="fit", unit="unit", quiet=self.quiet) as progress:

            def show(unit: Unit) -> None:
                progress.plan(len(self.units()))
                progress.rename(f"fit ({unit.name})")
                if self.log:
                    progress.note(f"{self.log[-1]['psnr']:.2f} dB")
                progress.update()

            self.do_units(show)

    # Units

    def _chain(self, layer: int) -> None:
        if layer == len(self.clip.objects):
            self.tracks.append(chain_background(self.clip, self._weights(layer)))
        else:
            weights = self._weights(layer)
            reference = reference_frame(weights, self.clip.frames)
            self.tracks.append(chain_object(self.clip, weights, reference, self.data.colours.__getitem__))

    def _register(self, sigma: float) -> None:
        objects = len(self.clip.objects)
        self.tracks = [
            register_round(track, self._looks(layer), sigma, elastic=layer < objects) for layer, track in enumerate(self.tracks)
        ]

    def _start_model(self) -> None:
        if self.model is None:
            self.model = self._registered_model()
            self.tracks.clear()  # the model holds them from here on
            self.maps_are_current = False
        solve.start_atlases(self._frames())

    def _improve_atlases(self) -> None:
        self._note("atlas", solve.improve_atlases(self._frames()))

    def _solve_light(self) -> None:
        self._note("light", solve.solve_light(self._frames()))

    def _refine(self, begin: int, end: int) -> None:
        refiner = self._refining()
        with self.pace.timed(end - begin, (end - begin) * refiner.samples(self.data)):
            for index in range(begin, end):
                refiner.step(self.data, index, self.device)
        refiner.check(self.data, end, self.device)
        self.maps_are_current = False

    def _refining(self) -> Refiner:
        assert self.model is not None
        if self.refiner is None:
            self.refiner = Refiner(self.model, self.config, max(self.config.epochs, 1) * self.config.steps)
        return self.refiner

    def _update_maps(self) -> None:
        self._frames()

    # What a budget of seconds leaves time for, the most useful first

    def _plan_round(self) -> None:
        """One more round of registration, of the preset's or of its finest, where there is time for it and what must follow."""
        assert self.budget is not None
        after = _LEAST if len(self.rounds) == 1 else [*_LEAST, *self._passes(self.config.passes)]
        last = self.rounds[-1]
        finer = self.config.rounds[self.config.rounds.index(last) + self.rounds.count(last) :]
        count = self.budget.how_many(len(finer), "round", after)
        if count:  # a few rounds out of many go from coarse to fine all the same
            self.rounds = (*self.rounds, finer[0] if count > 1 else finer[len(finer) // 2])

    def _plan_passes(self) -> None:
        """As many passes for the atlases as there is time for, and light after them."""
        assert self.budget is not None
        self.passes = self.budget.how_many(self.config.passes, "atlas", ["light", *_LAST])

    def _plan_epoch(self) -> None:
        """One more epoch of gradient steps where it is done in time."""
        assert self.budget is not None
        rest = ["maps", *self._passes(self.config.passes), *_LAST]
        if not self.epochs and self.budget.fits(rest):  # measuring a step is not for nothing
            self.budget.expect("steps", CHUNK * self._refining().seconds_per_step(self.data, self.device))
        self.epochs += self.budget.fits(["steps", *rest])

    @staticmethod
    def _passes(count: int) -> list[str]:
        return [*["atlas"] * count, "light"] if count else []

    def left_out(self) -> str:
        """What a budget of seconds left no time for, of what the preset does without one, in words."""
        config, steps = self.config, self.epochs * self.steps
        parts = (
            (len(config.rounds) - len(self.rounds), len(config.rounds), "rounds of registration"),
            (config.passes - self.passes, config.passes, "passes for the atlases"),
            (config.epochs * config.steps - steps, config.epochs * config.steps, "gradient steps"),
        )
        return ", ".join(f"{missing} of {whole} {what}" for missing, whole, what in parts if missing > 0)

    def least(self) -> str:
        """What there is no fit without, in words, where this one is made of nothing else; "" where it did more."""
        return "" if len(self.rounds) > 1 or self.epochs else "one round of registration, the atlases, light and pictures"

    def _note(self, kind: str, scores: list[float]) -> None:
        self.log.append({"unit": self.finished_units, "kind": kind, "psnr": float(np.mean(scores)), "worst": min(scores)})

    def hand_over(self, folder: Path) -> None:
        """Write the finished model below `folder`: checkpoint, maps, atlases and light."""
        self._frames()  # writes the maps where a resumed run has none
        assert self.model is not None
        save_model(folder / "checkpoint.safetensors", self.model)
        shutil.move(self.folder / "maps", folder / "maps")
        self.maps_are_current = False
        write_layers(self.model, self.clip, folder)

    def frame(self, t: int) -> np.ndarray:  # (H, W, 3) uint8
        """Frame `t` of the clip, as it was decoded for the run."""
        return self.data.colours[t]

    # What the units stand on

    def _weights(self, layer: int) -> Callable[[int], np.ndarray]:
        return lambda t: self.data.weight(layer, t)

    def _looks(self, layer: int) -> Callable[[int], Look | None]:
        return lambda t: self.data.look(layer, t)

    def _registered_model(self) -> LayeredAtlas:
        clip, config = self.clip, self.config
        canvases = [canvas_of(track, self._looks(layer)) for layer, track in enumerate(self.tracks)]
        shape = Shape(
            layers=tuple(clip.layers),
            frames=clip.frames,
            height=clip.height,
            width=clip.width,
            offset_grid=self.tracks[0].grid_size,
            light_grid=(-(-clip.height // solve.LIGHT_STRIDE), -(-clip.width // solve.LIGHT_STRIDE)),
            atlas_sizes=tuple(
                min(math.ceil(max(canvas.width, canvas.height) * track.largest_view() * config.texels_per_pixel), LIMIT)
                for canvas, track in zip(canvases, self.tracks, strict=True)
            ),
        )
        model = build_model(shape, config.mapping, config.opacity, config.seed)
        for layer, (track, canvas) in enumerate(zip(self.tracks, canvases, strict=True)):
            start_from_track(model, layer, track, canvas)
        return model.to(self.device)

    def _frames(self) -> solve.FrameSet:
        """The clip through the model's present maps, which are written anew where the mapping has changed."""
        assert self.model is not None
        if not self.maps_are_current:
            write_maps(self.model, self.data, self.folder)
            self.maps_are_current = True
        return solve.FrameSet(lambda t: self.data.colours[t], Maps(self.folder), self.model, self.device)

    # The state on disk

    def write_inputs(self) -> None:
        """Decode frames and masks."""
        FitData.write(self.clip, self.folder, quiet=self.quiet, follow=self.config.follow_edges)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The plan as far as it is decided, and the tracks, or the model that was made of them, and its optimiser."""
        tensors: dict[str, Tensor] = {}
        description: dict[str, Any] = {
            "done": self.finished_units, "rounds": self.rounds, "passes": self.passes, "epochs": self.epochs, "log": self.log,
            "tracks": 0 if self.model else len(self.tracks),
        }  # fmt: skip
        if self.budget:
            description["budget"] = self.budget.known()
        if self.model is None:
            for i, track in enumerate(self.tracks):
                tensors[f"track.{i}.base"] = torch.from_numpy(track.base)
                tensors[f"track.{i}.offset"] = torch.from_numpy(track.offset)
        else:
            tensors |= {f"model.{name}": value for name, value in self.model.state_dict().items()}
            description["shape"] = asdict(self.model.shape)
        if self.refiner is not None:
            tensors |= optimiser_tensors(self.refiner.optimiser)
        return tensors, description

    def restore(self, tensors: dict[str, Tensor], description: dict[str, Any]) -> None:
        """Take up what `state` gave."""
        self.finished_units, self.epochs, self.log = description["done"], description["epochs"], description["log"]
        self.rounds, self.passes = tuple(description["rounds"]), description.get("passes", self.passes)
        if self.budget:
            self.budget.recall(description["budget"])
        for i in range(description["tracks"]):
            base, offset = tensors[f"track.{i}.base"].numpy(), tensors[f"track.{i}.offset"].numpy()
            self.tracks.append(Track(base, offset, self.clip.height, self.clip.width))
        if "shape" in description:
            state = {k[6:]: v for k, v in tensors.items() if k.startswith("model.")}
            described = {name: ("F32", tuple(tensor.shape)) for name, tensor in state.items()}
            config = self.config
            model = matching_model(
                shape_from_dict(description["shape"]), config.mapping, config.opacity, config.seed, described
            )
            model.load_state_dict(state)
            self.model = model.to(self.device)
            if any(name.startswith("optimiser.") for name in tensors):
                restore_optimiser(self._refining().optimiser, tensors)
