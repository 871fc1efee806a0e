"""Makes datasets: collects episodes from pinned behaviour policies, and mixes datasets by a card's recipe."""

import math
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from pjap_bench import files
from pjap_bench.behaviour import policy as policies
from pjap_bench.behaviour.play import Episodes, play
from pjap_bench.datasets import cards, hdf5
from pjap_bench.environments import get as get_environment
from pjap_bench.errors import BenchError


def collect(name: str, episodes_per_policy: int, output: Path, stamp: dict, processes: int = 1) -> None:
    """Collects a generated dataset: the same number of episodes from each of its behaviour policies, policy after policy.

    Episode e of policy p is seeded by (card's seed, p, e) alone, so more episodes continue the same data, and
    neither `processes` nor the blocks of episodes change a bit of it.
    """
    card = cards.load(name, "generated")
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
    environment = get_environment(card["environment"])
    actions = np.concatenate([episodes.actions for episodes, _ in played])
    dataset = hdf5.Dataset(
        lengths=np.concatenate([episodes.lengths for episodes, _ in played]),
        terminated=np.concatenate([episodes.terminated for episodes, _ in played]),
        actions=actions.reshape(-1, environment.agents, environment.action_size),
        rewards=np.concatenate([episodes.rewards for episodes, _ in played]),
        physics=np.concatenate([episodes.physics for episodes, _ in played]),
        seed=np.array([_episode_seed(card, index, episode) for _, index, block in jobs for episode in block]),
        policy=np.array([index for _, index, block in jobs for _ in block]),
        attributes={
            "environment": card["environment"],
            "dataset": name,
            "origin": "generated",
            "layout": "physics",
            "actions": hdf5.CLIPPED,
            "noise": card["noise"],
            "policies": [policy["name"] for policy in card["policies"]],
            "policy_sha256": [policy["sha256"] for policy in card["policies"]],
            "licence": card["licence"],
            "seam": [0],
            **cards.reference_returns(card),
        },
    )
    differences = [float(difference) for _, difference in played]
    weights = [len(episodes.rewards) for episodes, _ in played]
    finish(output, dataset, card, stamp, float(np.average(differences, weights=weights)))


def mix(name: str, sources: dict[str, Path], output: Path, stamp: dict) -> None:
    """Makes a mixture by its card: part after part, each whole, or some of its policies' episodes, or a seeded subsample.

    `seam` records the first episode of each part. If only some parts have their physics, it is given up for what agents see.

    Args:
        sources: the HDF5 file of each dataset that the card names.

    Raises:
        BenchError: no file of a part, a part that has fewer episodes than the card asks for, or not the policies.
    """
    card = cards.load(name, "mixture")
    wanted = cards.parts(card)
    if missing := sorted({part.dataset for part in wanted} - set(sources)):
        raise BenchError(f"no file of '{missing[0]}'", where=f"mixture '{name}'", do="give the files of all its parts")
    read = {part.dataset: hdf5.read(sources[part.dataset]) for part in wanted}
    taken = [_take(read[part.dataset], part, name) for part in wanted]
    if len({dataset.layout for dataset in taken}) > 1:
        taken = [dataset.as_observed() for dataset in taken]
    episodes = np.array([len(dataset.lengths) for dataset in taken])

    def common(key: str) -> object:
        """The attribute where all parts agree, else their list as text."""
        found = list(dict.fromkeys(dataset.attributes[key] for dataset in taken))
        return found[0] if len(found) == 1 else ", ".join(map(str, found))

    noises = {dataset.attributes["noise"] for dataset in taken}
    attributes = {
        "environment": card["environment"],
        "dataset": name,
        "origin": common("origin"),
        "layout": taken[0].layout,
        "actions": common("actions"),
        "noise": noises.pop() if len(noises) == 1 else math.nan,
        "licence": card["licence"],
        "seam": [0, *np.cumsum(episodes)[:-1].tolist()],
        **cards.reference_returns(card),
    }
    if tail := taken[-1].attributes.get("tail"):
        attributes["tail"] = tail
    floors = [
        # an own rule may say none; that of a dataset is not that of some of its policies
        hdf5.read_summary(sources[part.dataset]).get("noise_floor") if whole else None
        for part, dataset in zip(wanted, taken, strict=True)
        for whole in [part.policies is None or set(part.policies) == set(dataset.attributes["policies"])]
    ]
    known = all(floor is not None for floor in floors)
    floor = float(np.average(floors, weights=[dataset.transitions for dataset in taken])) if known else None
    finish(output, hdf5.concatenate(taken, attributes), card, stamp, floor)


def _take(dataset: hdf5.Dataset, part: cards.Part, name: str) -> hdf5.Dataset:
    """What a mixture takes of a dataset."""
    names = dataset.attributes["policies"]
    chosen = np.arange(len(dataset.lengths))
    if part.policies is not None:
        if unknown := sorted(set(part.policies) - set(names)):
            what = f"'{part.dataset}' has no policy '{unknown[0]}'"
            raise BenchError(what, where=f"mixture '{name}'", do=f"use some of: {', '.join(names)}, or make the part anew")
        chosen = chosen[np.isin(dataset.policy, [index for index, policy in enumerate(names) if policy in part.policies])]
    if part.episodes is not None:
        if part.episodes > len(chosen):
            what = f"the recipe asks for {part.episodes} episodes of '{part.dataset}', which has {len(chosen)}"
            raise BenchError(what, where=f"mixture '{name}'", do="ask for fewer, or collect more episodes")
        random = np.random.default_rng(np.random.SeedSequence([part.seed, 3]))
        chosen = np.sort(random.choice(chosen, part.episodes, replace=False))
    if not len(chosen):
        raise BenchError(f"no episode of '{part.dataset}' is left", where=f"mixture '{name}'", do="correct its parts")
    return dataset if len(chosen) == len(dataset.lengths) else dataset.episodes(chosen)


def random_return(environment_name: str, episodes: int, seed: int) -> float:
    """Mean return of uniformly random joint actions; a card's `random_return` is that of 200 episodes from seed 0."""
    environment = get_environment(environment_name)(episodes)
    random = np.random.default_rng(np.random.SeedSequence([seed, 0]))
    environment.reset(random.integers(2**31, size=episodes).tolist())
    width = environment.agents * environment.action_size
    returns, running = np.zeros(episodes), np.ones(episodes, dtype=bool)
    for _ in range(environment.horizon):
        _, rewards, terminated = environment.step(random.uniform(-1, 1, (episodes, width)), running)
        returns += rewards
        running &= ~terminated
    return float(returns.mean())


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
    observations = environment.observations(episodes.physics[hdf5.before_actions(episodes.lengths)].astype(np.float64))
    return episodes, float(np.abs(policy(observations) - episodes.actions).mean())


def finish(output: str | Path, dataset: hdf5.Dataset, card: dict, stamp: dict, noise_floor: float | None) -> None:
    """Writes a dataset and, beside it, its summary; both or neither.

    Args:
        noise_floor: mean |behaviour policy's action - data action|; None where the behaviour policies are not known.

    Raises:
        BenchError: a dataset that does not fit together, returns that are not the published ones, or a disk that refuses.
    """
    check_published(dataset, card)
    hdf5.write(output, dataset)
    try:
        files.write_json(hdf5.summary_path(output), _summary(output, dataset, card, stamp, noise_floor))
    except BaseException:
        for path in (Path(output), hdf5.summary_path(output)):  # one without the other's could not be read
            if path.is_file():
                path.unlink()
        raise


def check_published(dataset: hdf5.Dataset, card: dict) -> None:
    """Compares the returns with the card's `published` ones, if they have a `tolerance`. A cut episode at the end does not count.

    Raises:
        BenchError: mean, sd, min or max differ by more.
    """
    published = card.get("published", {})
    if "tolerance" not in published:
        return
    returns = dataset.returns[: len(dataset.lengths) - bool(dataset.attributes.get("tail"))]
    if not len(returns):
        what = "no episode ends, so there are no returns to compare"
        raise BenchError(what, where=card["id"], do="use other data, or take `tolerance` out of the card")
    found = {"mean": returns.mean(), "sd": returns.std(), "min": returns.min(), "max": returns.max()}
    wrong = [name for name, value in found.items() if abs(value - published[name]) > published["tolerance"]]
    if wrong:
        pairs = ", ".join(f"{name} {found[name]:.2f} instead of {published[name]:.2f}" for name in wrong)
        what = f"episode returns differ from the published ones by more than {published['tolerance']}: {pairs}"
        advice = "look where the data come from (uid, urls, file), then at the card"
        raise BenchError(f"{what} ({len(returns)} episodes)", where=card["id"], do=advice)


def _summary(path: str | Path, dataset: hdf5.Dataset, card: dict, stamp: dict, noise_floor: float | None) -> dict:
    returns = dataset.returns
    return {
        "stamp": stamp,
        "name": card["id"],
        "origin": dataset.attributes["origin"],
        "layout": dataset.layout,
        "environment": card["environment"],
        "sha256": files.sha256(path),
        "transitions": dataset.transitions,
        "episodes": len(returns),
        "length": {"mean": dataset.lengths.mean(), "min": int(dataset.lengths.min()), "max": int(dataset.lengths.max())},
        "terminated": int(np.sum(dataset.terminated)),
        "return": {"mean": returns.mean(), "sd": returns.std(), "min": returns.min(), "max": returns.max()},
        "reference": cards.reference_returns(card),
        "noise_floor": noise_floor,
        "seam": dataset.attributes["seam"],
        "policies": [
            {"name": policy, "episodes": int(own.sum()), "mean_return": returns[own].mean() if own.any() else None}
            for policy, own in ((policy, dataset.policy == index) for index, policy in enumerate(dataset.attributes["policies"]))
        ],
    }
