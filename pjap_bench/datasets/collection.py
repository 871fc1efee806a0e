"""Makes datasets: collects episodes from pinned behaviour policies, and concatenates datasets into mixtures."""

from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from pjap_bench import files
from pjap_bench.behaviour import policy as policies
from pjap_bench.behaviour.play import Episodes, play
from pjap_bench.datasets import cards, hdf5
from pjap_bench.environments import get as get_environment


def collect(name: str, episodes_per_policy: int, output: Path, stamp: dict, processes: int = 1) -> None:
    """Collects a generated dataset: the same number of episodes from each of its behaviour policies, policy after policy.

    Episode e of policy p is seeded by (card's seed, p, e) alone, so more episodes continue the same data, and
    neither `processes` nor the blocks of episodes change a bit of it.
    """
    card = cards.load(name)
    _check_policies(card)
    jobs = [
        (name, index, range(first, min(first + policies.BLOCK, episodes_per_policy)))
        for index in range(len(card["policies"]))
        for first in range(0, episodes_per_policy, policies.BLOCK)
    ]
    if processes == 1:
        played = [_collect_block(*job) for job in jobs]
    else:
        with ProcessPoolExecutor(processes) as pool:
            played = list(pool.map(_collect_block, *zip(*jobs, strict=True)))
    dataset = hdf5.Dataset(
        physics=np.concatenate([episodes.physics for episodes, _ in played]),
        actions=np.concatenate([episodes.actions for episodes, _ in played]),
        rewards=np.concatenate([episodes.rewards for episodes, _ in played]),
        seed=np.array([_episode_seed(card, index, episode) for _, index, block in jobs for episode in block]),
        policy=np.array([index for _, index, block in jobs for _ in block]),
        attributes={
            "environment": card["environment"],
            "dataset": name,
            "origin": "generated",
            "layout": "physics",
            "actions": "clipped to [-1, 1]",
            "noise": card["noise"],
            "policies": [policy["name"] for policy in card["policies"]],
            "policy_sha256": [policy["sha256"] for policy in card["policies"]],
            "licence": card["licence"],
            "seam": [0],
            **cards.reference_returns(card),
        },
    )
    differences = [float(difference) for _, difference in played]
    weights = [len(block) for _, _, block in jobs]
    _finish(output, dataset, card, stamp, float(np.average(differences, weights=weights)))


def mix(name: str, parts: dict[str, Path], output: Path, stamp: dict) -> None:
    """Concatenates whole datasets in the card's order; `seam` records the first episode of each part."""
    card = cards.load(name)
    read = [hdf5.read(parts[part]) for part in card["parts"]]
    counts = [len(dataset.attributes["policies"]) for dataset in read]
    offsets = np.concatenate([[0], np.cumsum(counts)[:-1]])
    episodes = np.array([len(dataset.rewards) for dataset in read])
    dataset = hdf5.Dataset(
        physics=np.concatenate([dataset.physics for dataset in read]),
        actions=np.concatenate([dataset.actions for dataset in read]),
        rewards=np.concatenate([dataset.rewards for dataset in read]),
        seed=np.concatenate([dataset.seed for dataset in read]),
        policy=np.concatenate([dataset.policy + offset for dataset, offset in zip(read, offsets, strict=True)]),
        attributes={
            "environment": read[0].attributes["environment"],
            "dataset": name,
            "origin": read[0].attributes["origin"],
            "layout": "physics",
            "actions": read[0].attributes["actions"],
            "noise": read[0].attributes["noise"],
            "policies": [policy for dataset in read for policy in dataset.attributes["policies"]],
            "policy_sha256": [policy for dataset in read for policy in dataset.attributes["policy_sha256"]],
            "licence": card["licence"],
            "seam": [0, *np.cumsum(episodes)[:-1].tolist()],
            **cards.reference_returns(card),
        },
    )
    floors = [hdf5.read_summary(parts[part])["noise_floor"] for part in card["parts"]]
    _finish(output, dataset, card, stamp, float(np.average(floors, weights=episodes)))


def random_return(environment_name: str, episodes: int, seed: int) -> float:
    """Mean return of uniformly random joint actions; a card's `random_return` is that of 200 episodes from seed 0."""
    environment = get_environment(environment_name)(episodes)
    random = np.random.default_rng(np.random.SeedSequence([seed, 0]))
    environment.reset(random.integers(2**31, size=episodes).tolist())
    width = environment.agents * environment.action_size
    return float(sum(environment.step(random.uniform(-1, 1, (episodes, width)))[1] for _ in range(environment.horizon)).mean())


def _check_policies(card: dict) -> None:
    """A wrong policy is an error here, not in a worker process halfway."""
    for index in range(len(card["policies"])):
        _load_policy(card, index)


def _load_policy(card: dict, index: int) -> policies.BehaviourPolicy:
    environment = get_environment(card["environment"])
    return policies.load(
        cards.policy_files(card)[index],
        sha256=card["policies"][index]["sha256"],
        agents=environment.agents,
        observation=environment.observation_size,
        action=environment.action_size,
        masked=environment.unbounded_observations,
    )


def _episode_seed(card: dict, policy: int, episode: int) -> int:
    return int(np.random.SeedSequence([card["seed"], policy, episode]).generate_state(1)[0])


def _collect_block(name: str, policy_index: int, block: range) -> tuple[Episodes, float]:
    """Plays one block of episodes: the data, and the mean |policy - data action| that the noise makes."""
    card = cards.load(name)
    policy = _load_policy(card, policy_index)
    environment = get_environment(card["environment"])(len(block))
    episodes = play(policy, environment, [_episode_seed(card, policy_index, episode) for episode in block], card["noise"])
    observations = environment.observations(episodes.physics[:, :-1].astype(np.float64))
    intended = policy(observations.reshape(-1, *observations.shape[2:])).reshape(episodes.actions.shape)
    return episodes, float(np.abs(intended - episodes.actions).mean())


def _finish(output: Path, dataset: hdf5.Dataset, card: dict, stamp: dict, noise_floor: float) -> None:
    hdf5.write(output, dataset)
    returns = dataset.returns
    summary = {
        "stamp": stamp,
        "name": card["id"],
        "origin": dataset.attributes["origin"],
        "sha256": files.sha256(output),
        "transitions": dataset.transitions,
        "episodes": len(returns),
        "return": {"mean": returns.mean(), "sd": returns.std(), "min": returns.min(), "max": returns.max()},
        "reference": cards.reference_returns(card),
        "noise_floor": noise_floor,
        "seam": dataset.attributes["seam"],
        "policies": [
            {
                "name": policy,
                "episodes": int((dataset.policy == index).sum()),
                "mean_return": returns[dataset.policy == index].mean(),
            }
            for index, policy in enumerate(dataset.attributes["policies"])
        ],
    }
    files.write_json(hdf5.summary_path(output), summary)
