"""The points of FaceMesh's 468 that are used, by name, and what is measured on them."""

from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

Points = TypeVar("Points", np.ndarray, Tensor)

BRIDGE = 168  # of the nose, between the eyes
NOSE_BASE = 2
CHIN = 152
UPPER_LIP, LOWER_LIP = 13, 14  # middles of the inner outline
# The face's outline from the ear left in the picture by way of the chin to the other.
JAW = (234, 93, 132, 58, 172, 136, 150, 149, 176, 148, CHIN, 377, 400, 378, 379, 365, 397, 288, 361, 323, 454)
TRACKED = (BRIDGE, NOSE_BASE, UPPER_LIP, LOWER_LIP, *JAW)
EYES = (33, 263)  # outer corners, left and right in the picture
FOREHEAD = 10
MOUTH_CORNERS = (78, 308)  # of the inner outline, left and right in the picture
OUTER_LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
INNER_LIPS = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191)
LIPS = OUTER_LIPS + INNER_LIPS


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


def mouth_aspect(landmarks: Points) -> Points:
    """Gap between the inner lips over the width of the inner mouth, (T, 468, 2 or 3) -> (T,); 0 for a closed mouth."""
    return opening(*(landmarks[..., point, :2] for point in (UPPER_LIP, LOWER_LIP, *MOUTH_CORNERS)))


def head_pose(landmarks: Tensor) -> Tensor:
    """Angles of the head from whole meshes, (M, 468, 3) -> (M, 3): yaw, pitch and roll in degrees, 0 when frontal.

    The mesh's depth is a network's guess: good enough to find profiles, no measurement of angles.
    """
    across = landmarks[:, EYES[1]] - landmarks[:, EYES[0]]
    down = landmarks[:, CHIN] - landmarks[:, FOREHEAD]
    yaw, pitch = torch.atan2(across[:, 2], across[:, 0]), torch.atan2(down[:, 2], down[:, 1])
    return torch.stack([yaw, pitch, torch.atan2(across[:, 1], across[:, 0])], 1).rad2deg()
