from collections.abc import Callable
import numpy as np


def masks_from_motion(frame: Callable[[int], np.ndarray], frames: int, quiet: bool = False) -> list[np.ndarray]:
    raise NotImplementedError
