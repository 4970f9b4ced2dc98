"""The points of FaceMesh's 468 that are used, by name, and what is measured on them."""

from typing import TypeVar

import numpy as np
from torch import Tensor

Points = TypeVar("Points", np.ndarray, Tensor)

BRIDGE = 168  # of the nose, between the eyes
NOSE_BASE = 2
CHIN = 152
UPPER_LIP, LOWER_LIP = 13, 14  # middles of the inner outline
TRACKED = (BRIDGE, NOSE_BASE, CHIN, UPPER_LIP, LOWER_LIP)


def mouth_opening(landmarks: Points) -> Points:
    """`opening` of whole meshes, (T, 468, 2 or 3) in pixels -> (T,)."""
    return opening(*(landmarks[..., point, :2] for point in (UPPER_LIP, LOWER_LIP, BRIDGE, NOSE_BASE)))


def opening(upper_lip: Points, lower_lip: Points, bridge: Points, nose_base: Points) -> Points:
    """Gap between the inner lips over the length of the nose, in the picture plane.

    Args:
        upper_lip, lower_lip, bridge, nose_base: (T, 2) in pixels, arrays or tensors.

    Returns:
        (T,) dimensionless; about 0 for a closed mouth.
    """
    gap, nose = (((a - b) ** 2).sum(-1) ** 0.5 for a, b in ((upper_lip, lower_lip), (bridge, nose_base)))
    return gap / nose
