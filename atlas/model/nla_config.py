"""What the published Layered Neural Atlases are built and trained from, under the names that their config.json uses."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

LARGEST_SIDE = 8192
MOST_FRAMES = 100_000
MOST_PARAMETERS = 20_000_000
"""About twelve times the published networks: what a config from outside may ask for at most."""
MOST_PIXELS = 4096 * 2160
"""Of a frame that was trained on."""
_LIMITS = {"number_of_channels": 8192, "number_of_layers": 64, "positional_encoding_num": 32, "number_of_positional": 32}
_FRAME_COUNTS = ("number_of_frames", "maximum_number_of_frames")


@dataclass(frozen=True)
class NetworkShape:
    """One of the four networks: linear layers with ReLU between them, tanh at the end."""

    inputs: int
    outputs: int
    channels: int
    layers: int
    """Linear layers, the last one included."""
    octaves: int = 0
    """Of the positional encoding; 0: the input as it is."""
    skips: tuple[int, ...] = ()
    """Layers that read the encoded input a second time."""

    def sizes(self) -> list[tuple[int, int]]:
        """(inputs, outputs) of each linear layer."""
        encoded = 2 * self.inputs * self.octaves if self.octaves else self.inputs
        into = [encoded] + [self.channels + (encoded if i in self.skips else 0) for i in range(1, self.layers)]
        return list(zip(into, [self.channels] * (self.layers - 1) + [self.outputs], strict=True))


@dataclass(frozen=True)
class NlaConfig:
    """The published architecture and training; saved as config.json of a fit. The names are those of the published file.

    1 is the foreground, 2 the background.
    """

    resx: int
    resy: int
    maximum_number_of_frames: int
    """t of frame f is f / (this / 2) - 1."""
    preset: str = "nla"
    seed: int = 0

    number_of_channels_mapping1: int = 256
    number_of_layers_mapping1: int = 6
    use_positional_encoding_mapping1: bool = False
    number_of_positional_encoding_mapping1: int = 4
    number_of_channels_mapping2: int = 256
    number_of_layers_mapping2: int = 4
    use_positional_encoding_mapping2: bool = False
    number_of_positional_encoding_mapping2: int = 2
    number_of_channels_atlas: int = 256
    number_of_layers_atlas: int = 8
    positional_encoding_num_atlas: int = 10
    number_of_channels_alpha: int = 256
    number_of_layers_alpha: int = 8
    positional_encoding_num_alpha: int = 5

    iters_num: int = 400_000
    samples_batch: int = 10_000
    learning_rate: float = 1e-4
    uv_mapping_scale: float = 0.8
    pretrain_iter_number: int = 100
    """Rounds of steps, one for each frame, that teach each mapping uv = scale * (x, y) first."""
    rgb_coeff: float = 5000.0
    gradient_loss_coeff: float = 1000.0
    rigidity_coeff: float = 1.0
    derivative_amount: int = 1
    optical_flow_coeff: float = 5.0
    alpha_flow_factor: float = 49.0
    sparsity_coeff: float = 1000.0
    alpha_bootstrapping_factor: float = 2000.0
    stop_bootstrapping_iteration: int = 10_000
    global_rigidity_derivative_amount_fg: int = 100
    global_rigidity_derivative_amount_bg: int = 100
    global_rigidity_coeff_fg: float = 5.0
    global_rigidity_coeff_bg: float = 50.0
    stop_global_rigidity: int = 5_000

    @property
    def mapping1(self) -> NetworkShape:
        """Foreground: x, y, t -> u, v."""
        octaves = self.number_of_positional_encoding_mapping1 if self.use_positional_encoding_mapping1 else 0
        return NetworkShape(3, 2, self.number_of_channels_mapping1, self.number_of_layers_mapping1, octaves)

    @property
    def mapping2(self) -> NetworkShape:
        """Background: x, y, t -> u, v."""
        octaves = self.number_of_positional_encoding_mapping2 if self.use_positional_encoding_mapping2 else 0
        return NetworkShape(3, 2, self.number_of_channels_mapping2, self.number_of_layers_mapping2, octaves)

    @property
    def alpha(self) -> NetworkShape:
        """x, y, t -> the foreground's opacity."""
        octaves = self.positional_encoding_num_alpha
        return NetworkShape(3, 1, self.number_of_channels_alpha, self.number_of_layers_alpha, octaves)

    @property
    def atlas(self) -> NetworkShape:
        """u, v -> colour, of both layers: the foreground lives in [0, 1]^2, the background in [-1, 0]^2."""
        octaves = self.positional_encoding_num_atlas
        return NetworkShape(2, 3, self.number_of_channels_atlas, self.number_of_layers_atlas, octaves, (4, 7))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as JSON holds them."""
        return asdict(self)


def baseline(width: int, height: int, frames: int, seed: int) -> NlaConfig:
    """The published config for a clip."""
    return NlaConfig(width, height, frames, seed=seed)


def published_config(data: Any) -> NlaConfig:
    """The config that a published config.json describes; ValueError with what is wrong in it.

    The frame's size and the number of frames must be there (in either spelling); what else is missing is as published.
    """
    if not isinstance(data, dict):
        raise ValueError("it is no JSON object")
    counts = [name for name in _FRAME_COUNTS if name in data]
    if not counts:
        raise ValueError(f"{_FRAME_COUNTS[1]} (or {_FRAME_COUNTS[0]}) is missing")
    values: dict[str, Any] = {"maximum_number_of_frames": _whole(data, counts[0], 2, MOST_FRAMES)}
    for name in ("resx", "resy"):
        if name not in data:
            raise ValueError(f"{name} is missing")
        values[name] = _whole(data, name, 16, LARGEST_SIDE)
    if values["resx"] * values["resy"] > MOST_PIXELS:
        raise ValueError(f"its frames are {values['resx']}x{values['resy']}, more than {MOST_PIXELS} pixels")
    for known in fields(NlaConfig):
        name = known.name
        if name not in data or name in values or name in ("preset", "seed"):
            continue
        if name.startswith("use_"):
            if not isinstance(data[name], bool):
                raise ValueError(f"{name} is {data[name]!r}, not true or false"[:200])
            values[name] = data[name]
        elif limit := next((limit for start, limit in _LIMITS.items() if name.startswith(start)), 0):
            values[name] = _whole(data, name, 1, limit)
    if "uv_mapping_scale" in data:
        values["uv_mapping_scale"] = _scale(data["uv_mapping_scale"])
    config = NlaConfig(**values)
    networks = (config.mapping1, config.mapping2, config.alpha, config.atlas)
    parameters = sum((a + 1) * b for network in networks for a, b in network.sizes())
    if parameters > MOST_PARAMETERS:
        raise ValueError(f"its networks would have {parameters} parameters, more than {MOST_PARAMETERS}")
    return config


def _whole(data: dict[str, Any], name: str, low: int, high: int) -> int:
    value = data[name]
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"{name} is {str(value)[:40]}, not a whole number from {low} to {high}")
    return value


def _scale(value: Any) -> float:
    # Compared before anything is made of it: a whole number may have hundreds of digits. NaN and infinity fail the test.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 10:
        raise ValueError(f"uv_mapping_scale is {str(value)[:40]}, not a number between 0 and 10")
    return float(value)
