"""Configs as Layered Neural Atlases publish them: understood, or refused where they are absurd."""

from __future__ import annotations

import pytest

from atlas.model.nla_config import NetworkShape, published_config

PUBLISHED = {"resx": 768, "resy": 432, "maximum_number_of_frames": 70, "data_folder": "data/blackswan", "iters_num": 400000}


def test_published_configs_are_understood() -> None:
    config = published_config(PUBLISHED | {"number_of_channels_atlas": 33, "use_positional_encoding_mapping1": True})
    assert (config.resx, config.resy, config.maximum_number_of_frames) == (768, 432, 70)
    assert config.atlas == NetworkShape(2, 3, 33, 8, 10, (4, 7)) and config.mapping1.octaves == 4
    other = {name: value for name, value in PUBLISHED.items() if name != "maximum_number_of_frames"}
    assert published_config(other | {"number_of_frames": 41.0}).maximum_number_of_frames == 41


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resx": None}, "resx is None, not a whole number"),
        ({"resy": 10**9}, "not a whole number from 16 to 8192"),
        ({"maximum_number_of_frames": "70"}, "not a whole number"),
        ({"maximum_number_of_frames": True}, "not a whole number"),
        ({"number_of_channels_atlas": 10**12}, "number_of_channels_atlas is 1000000000000"),
        ({"number_of_channels_atlas": 8000, "number_of_channels_alpha": 8000}, "more than 20000000"),
        ({"number_of_layers_mapping1": 0}, "number_of_layers_mapping1 is 0"),
        ({"positional_encoding_num_alpha": 2.5}, "positional_encoding_num_alpha is 2.5"),
        ({"use_positional_encoding_mapping1": "no"}, "not true or false"),
        ({"uv_mapping_scale": float("nan")}, "uv_mapping_scale is nan"),
    ],
)
def test_absurd_configs_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        published_config(PUBLISHED | changes)
    for name in ("resx", "resy", "maximum_number_of_frames"):
        with pytest.raises(ValueError, match=f"{name}.* is missing"):
            published_config({key: value for key, value in PUBLISHED.items() if key != name})
    with pytest.raises(ValueError, match="no JSON object"):
        published_config([1, 2])
