"""Figure 2 and claims C2a, C2b: online learning in sign agreement with four sizes of the replay buffer."""

import numpy as np

from pjap_bench.games.experiments.estimates import bands, exact, listed, mean, median
from pjap_bench.games.experiments.experiment import Experiment, stream
from pjap_bench.games.learning import learn_online
from pjap_bench.games.polynomial import preset

# Median steps and path length until R > 0.5 by buffer size, as an independent simulation of these settings gave them before
# this one was written.
EXPECTED_MEDIANS = {10: (278, 1.41), 100: (362, 1.61), 200: (427, 1.99), 400: (518, 2.65)}


def run(settings: dict) -> Experiment:
    """Steps and path length are counted until R first exceeds the target; staleness is the mean distance of the sampled data
    to the policy up to then. The run shown is the first.
    """
    own = settings["figure2"]
    game, target = preset("sign_agreement"), own["target_reward"]
    sizes = own["buffer_sizes"]
    arrays = {"coefficients": game.coefficients, "buffer_sizes": np.array(sizes), "target_reward": np.array(target)}
    steps, lengths, staleness, shown, final, rewards, agreeing = [], [], [], [], [], [], []
    for place, size in enumerate(sizes):
        learnt = learn_online(
            game,
            np.array(own["start"], dtype=float),
            runs=own["runs"],
            learning_rate=own["learning_rate"],
            steps=own["steps"],
            batch=own["batch"],
            buffer_size=size,
            exploration_sigma=own["exploration_sigma"],
            exploration=stream(settings, 2, place, 0),
            sampling=stream(settings, 2, place, 1),
        )
        reward = game.reward(learnt.policies)
        reached = first_above(reward, target)
        # [run, step]: which updates came before the target was reached; a run that never reaches it counts whole.
        before = np.arange(own["steps"]) < reached[:, None]
        moves = np.linalg.norm(np.diff(learnt.policies, axis=1), axis=-1)
        steps.append(reached)
        lengths.append((moves * before).sum(axis=1))
        staleness.append((learnt.distances * before).sum(axis=1) / before.sum(axis=1))
        agreeing.append((reward[:, -1] > target) & (learnt.policies[:, -1].prod(axis=-1) > 0))
        rewards.append(bands(reward))
        last = int(min(reached[0], own["steps"]))
        arrays[f"buffer_{size}"] = learnt.buffer_after(0, last)
        shown.append(learnt.policies[0])
        final.append(learnt.policies[:, -1])
    arrays |= {
        "policies": np.stack(shown),
        "steps": np.stack(steps),
        "path_lengths": np.stack(lengths),
        "staleness": np.stack(staleness),
        "reward_bands": np.stack(rewards),  # [size, (low, median, high), step]
        "final_policies": np.stack(final),  # [size, run, agent]
        "expected_medians": np.array([EXPECTED_MEDIANS.get(size, (np.nan, np.nan)) for size in sizes]),
    }
    grown = {}
    for name, values in {"steps to the target": steps, "path length": lengths, "staleness": staleness}.items():
        for smaller, larger, low, high in zip(sizes, sizes[1:], values, values[1:], strict=False):
            grown[f"{name}, buffer {larger} minus {smaller}"] = mean(high - low)
        for size, of_size in zip(sizes, values, strict=True):
            grown[f"median {name}, buffer {size}"] = median(of_size)
    together = np.concatenate(agreeing)
    estimates = {"C2a": grown, "C2b": {"share of runs ending in ++ or --": exact(together.mean(), len(together))}}
    caption = (
        f"Online MADDPG in sign agreement, {own['runs']} runs for each buffer size; shown is the first run until R > "
        f"{target:g}. Medians for buffers of {listed(sizes)}: {listed(np.median(steps, axis=1))} steps, path length "
        f"{listed(np.median(lengths, axis=1), '.2f')}. The paper gives no settings for this figure; ours are in the "
        "configuration."
    )
    of_seeds = (
        f"{own['runs']} runs for each buffer size: reward (median and middle 95 % of runs), and what it took until R > "
        f"{target:g}. Medians for buffers of {listed(sizes)}: {listed(np.median(steps, axis=1))} steps, path length "
        f"{listed(np.median(lengths, axis=1), '.2f')}, staleness (mean distance of the sampled data to the policy) "
        f"{listed(np.median(staleness, axis=1), '.3f')}. {together.mean():.1%} of the runs end in ++ or --."
    )
    return Experiment(arrays, estimates, {"figure2": caption, "figure2_seeds": of_seeds})


def first_above(rewards: np.ndarray, target: float) -> np.ndarray:
    """[run]: the number of updates after which `rewards` [run, step + 1] first exceed `target`; step + 1 where never."""
    above = rewards > target
    return np.where(above.any(axis=1), above.argmax(axis=1), rewards.shape[1])
