"""How close a joint action is to the joint policy (a distance), and how much that closeness weighs (a kernel).

PJAP weighs an item of the data by kernel(alpha d^2) with the distance d between its joint action and the policy; the paper's
instance is the Gaussian kernel of the L1 norm (Eqs. 6 and 7). It leaves 'context-agnostic' distances to future work: a new
distance or kernel is a function in this file and a line in its registry, and then an option of the sampler, a column of
the robustness map and a choice in the notebook.
"""

import numpy as np


def l1(actions: np.ndarray, policy: np.ndarray) -> np.ndarray:
    """|a_x - theta_x| + |a_y - theta_y| (Eq. 7, there misprinted as ||a, theta||_1, erratum 2)."""
    # Agent by agent: numpy is slow in sums over an axis of length 2.
    return np.abs(actions[..., 0] - policy[..., None, 0]) + np.abs(actions[..., 1] - policy[..., None, 1])


def l2(actions: np.ndarray, policy: np.ndarray) -> np.ndarray:
    """The Euclidean distance."""
    return np.hypot(actions[..., 0] - policy[..., None, 0], actions[..., 1] - policy[..., None, 1])


def linf(actions: np.ndarray, policy: np.ndarray) -> np.ndarray:
    """The larger of the two agents' differences."""
    return np.abs(actions - policy[..., None, :]).max(axis=-1)


def cosine(actions: np.ndarray, policy: np.ndarray) -> np.ndarray:
    """1 - cos of the angle between the joint actions, in [0, 2]: blind to their lengths. 1 where one of them is zero."""
    product = (actions * policy[..., None, :]).sum(axis=-1)
    lengths = np.sqrt(np.square(actions).sum(axis=-1) * np.square(policy).sum(axis=-1)[..., None])
    similarity = np.divide(product, lengths, out=np.zeros_like(product), where=lengths > 0)
    return 1 - np.clip(similarity, -1, 1)


def gaussian(scaled: np.ndarray) -> np.ndarray:
    """exp(-alpha d^2), the paper's (Eq. 6)."""
    return np.exp(-scaled)


def laplace(scaled: np.ndarray) -> np.ndarray:
    """exp(-sqrt(alpha) d): sharper at the policy, heavier far from it."""
    return np.exp(-np.sqrt(scaled))


def cauchy(scaled: np.ndarray) -> np.ndarray:
    """1 / (1 + alpha d^2): so heavy a tail that no item is ever out of reach."""
    return 1 / (1 + scaled)


def window(scaled: np.ndarray) -> np.ndarray:
    """1 where sqrt(alpha) d <= 1, else 0: the items within reach, all alike."""
    return (scaled <= 1).astype(np.float64)


# From actions [..., item, 2] and policy [..., 2] to distances [..., item], at least 0.
DISTANCES = {"l1": l1, "l2": l2, "linf": linf, "cosine": cosine}

# From alpha d^2 [..., item], at least 0, to weights in [0, 1]: 1 at 0 and never rising.
KERNELS = {"gaussian": gaussian, "laplace": laplace, "cauchy": cauchy, "window": window}
