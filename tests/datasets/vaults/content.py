"""What the vaults of this folder hold, for the script that wrote them and for the tests that read them: no flashbax here."""

import numpy as np

SEEDS = {"Good": 1, "Poor": 2, "Wide": 3}
#: steps of each episode, and what ended it ("" where the recording just stops)
EPISODES = {
    "Good": [(30, "truncations"), (24, "truncations"), (37, "truncations")],
    "Poor": [(12, "terminals"), (40, "truncations"), (7, "terminals"), (21, "both"), (9, "")],
    "Wide": [(8, "terminals")],
}


def experience(uid: str) -> dict:
    """The arrays of one vault, as OG-MARL shapes them for 2halfcheetah: T steps, no leading axis yet.

    Multiples of 1/512 from a counter, not a generator: the same on every machine, and small when compressed. Some actions
    of Poor lie outside [-1, 1].
    """
    steps = sum(length for length, _ in EPISODES[uid])
    seed = SEEDS[uid]

    def numbers(multiplier: int, *shape: int, scale: float = 1.0) -> np.ndarray:
        count = np.arange(seed, seed + int(np.prod(shape)))
        return ((count * multiplier % 1021 - 510) / 512 * scale).astype(np.float32).reshape(shape)

    ends = {name: np.zeros((steps, 2), dtype=bool) for name in ("terminals", "truncations")}
    last = -1
    for length, kind in EPISODES[uid]:
        last += length
        for name in ends:
            ends[name][last] = kind in (name, "both")
    return {
        "observations": numbers(37, steps, 2, 13, scale=4.0),
        "actions": numbers(101, steps, 2, 3, scale=1.25 if uid == "Poor" else 1.0),
        "rewards": np.repeat(numbers(211, steps, 1, scale=8.0), 2, axis=1),
        **ends,
        "infos": {"state": numbers(53, steps, 17, scale=4.0)},
    }


def returns(uid: str, tail: bool = True) -> np.ndarray:
    """The return of each episode; `tail` counts one whose end is missing."""
    lengths = [length for length, kind in EPISODES[uid] if tail or kind]
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    rewards = experience(uid)["rewards"][: sum(lengths), 0].astype(np.float64)
    return np.add.reduceat(rewards, starts)
