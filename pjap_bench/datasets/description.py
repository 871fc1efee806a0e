"""What a dataset is made of, in numbers: lengths, returns, actions, coverage, distances between its behaviour policies.

Joint SACo is OG-MARL's coverage (Formanek et al., 2024, Putting Data at the Centre of Offline MARL): unique pairs of state
and joint action, as a share of all pairs. Numbers of a continuous task hardly repeat, so it is nearly 1 there, whatever the
data; beside it stands the same share after states and actions are cut into the cells of a stated grid.
"""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pjap_bench import files
from pjap_bench.behaviour import policy as policies
from pjap_bench.datasets import cards, hdf5
from pjap_bench.datasets.croissant import croissant
from pjap_bench.environments import get as get_environment
from pjap_bench.errors import BenchError

BINS = 40  # of a histogram, at most
ACTION_EDGES = np.linspace(-1.0, 1.0, 21)
STATE_CELL = 2.0  # standard deviations of the dataset, in each dimension of the state
ACTION_CELL = 1.0  # in each dimension of the joint action, whose range is [-1, 1]
SAMPLED_STATES = 20_000  # at most, for distances: an equal share from each policy's data
TARGETS = {"mean": 0.05, "sd": 0.15}  # relative differences from published returns that we aim to stay within

_CHUNK = 1 << 16  # steps that are looked at together


def describe(
    dataset: hdf5.Dataset,
    behaviour: list[policies.BehaviourPolicy | None] | None = None,
    published: dict | None = None,
    seed: int = 0,
) -> dict:
    """The statistics of a dataset as plain JSON; None stands for what is not known.

    Args:
        behaviour: its behaviour policies in the order of its attribute `policies`, None in the place of an unknown one.
        published: mean and sd of the episode returns elsewhere, for comparison (a card's `published`).
        seed: of the draw of states for `distance`.

    Returns:
        episodes, transitions, length, terminated, return, policies, reward, action, coverage, distance, published.
        `counts` belong to the bins between `edges`: those of `return` are `[policy][bin]`, those of `action`
        `[agent][action][bin]`, where values beyond [-1, 1] count in the outer bins. For the matrices see `_distances`.
    """
    returns, names = dataset.returns, dataset.attributes["policies"]
    of_policy = [dataset.policy == index for index in range(len(names))]
    edges, length_edges = round_edges(returns), round_edges(dataset.lengths, least=1.0)
    whole = returns[: len(returns) - bool(dataset.attributes.get("tail"))]  # a vault may end in the middle of an episode
    return {
        "episodes": len(returns),
        "transitions": dataset.transitions,
        "length": spread(dataset.lengths) | {"edges": length_edges.tolist(), "counts": _counts(dataset.lengths, length_edges)},
        "terminated": {"episodes": int(np.sum(dataset.terminated)), "share": float(np.mean(dataset.terminated))},
        "return": spread(returns) | {"edges": edges.tolist(), "counts": [_counts(returns[own], edges) for own in of_policy]},
        "policies": [
            {
                "name": name,
                "episodes": int(own.sum()),
                "transitions": int(dataset.lengths[own].sum()),
                "return": spread(returns[own]) if own.any() else None,
            }
            for name, own in zip(names, of_policy, strict=True)
        ],
        "reward": spread(dataset.rewards),
        "action": _actions(dataset.actions),
        "coverage": _coverage(dataset),
        "distance": _distances(dataset, behaviour or [None] * len(names), seed),
        "published": compare(whole, published) if published and len(whole) else None,
    }


def write(path: str | Path, output: str | Path, croissant_output: str | Path, stamp: dict) -> None:
    """Describes the HDF5 file of a card's dataset, as JSON with its statistics and card, and in Croissant's terms; both or none.

    Raises:
        BenchError: a dataset that cannot be read or has no card, a behaviour policy that is not the card's, a disk that
            refuses.
    """
    path = Path(path)
    dataset = hdf5.read(path)
    card = cards.load(dataset.attributes["dataset"])
    found = {
        "stamp": stamp,
        "name": card["id"],
        "card": card,
        "file": {"name": path.name, "size": path.stat().st_size, "sha256": hdf5.read_summary(path)["sha256"]},
        "origin": dataset.attributes["origin"],
        "layout": dataset.layout,
        "actions": dataset.attributes["actions"],
        "reference": cards.reference_returns(card),
        "behaviour": [pinned and pinned[0]["policies"][pinned[1]] for pinned in _pinned(dataset, card)],
        "statistics": describe(dataset, behaviour_policies(dataset, card), card.get("published")),
    }
    files.write_json(output, found)
    try:
        files.write_json(croissant_output, croissant(found))
    except BaseException:
        Path(output).unlink()
        raise


def read(path: str | Path) -> dict:
    """What `write` wrote: stamp, name, card, file, origin, layout, actions, reference, behaviour (what the cards say of each
    behaviour policy, None where nothing) and statistics (see `describe`).

    Raises:
        BenchError: missing, or not the description of a dataset.
    """
    found = files.read_json(path)
    if not (isinstance(found, dict) and {"card", "file", "behaviour", "statistics"} <= set(found)):
        raise BenchError("not the description of a dataset", where=path, do="delete it and describe the dataset again")
    return found


def behaviour_policies(dataset: hdf5.Dataset, card: dict) -> list[policies.BehaviourPolicy | None]:
    """The behaviour policies that the card (of a mixture: its parts' cards) pins, None in the place of an unknown one.

    Raises:
        BenchError: a policy's file is missing or is not the pinned one.
    """
    environment = get_environment(card["environment"])
    return [
        pinned
        and policies.load(
            cards.policy_files(pinned[0])[pinned[1]],
            sha256=pinned[0]["policies"][pinned[1]]["sha256"],
            agents=environment.agents,
            observation=environment.observation_size,
            action=environment.action_size,
            masked=environment.unbounded_observations,
        )
        for pinned in _pinned(dataset, card)
    ]


def distances(found: dict) -> list[list[float | None]]:
    """From the statistics, `between` with the noise floors on its diagonal, as it is shown: `[policy][data of policy]`."""
    between, to_data = found["distance"]["between"], found["distance"]["to_data"]
    return [[to_data[k][j] if k == j else value for j, value in enumerate(row)] for k, row in enumerate(between)]


def any_distance(found: dict) -> bool:
    """Whether the statistics hold a distance at all."""
    return any(value is not None for row in found["distance"]["to_data"] for value in row)


def compare(returns: np.ndarray, published: dict) -> dict:
    """The returns beside published ones: relative differences of mean and sd, and whether they are within `TARGETS`.

    A difference from zero is not relative: None, as is its word then.
    """
    difference = {
        name: (value - published[name]) / abs(published[name]) if published[name] else None
        for name, value in (("mean", float(returns.mean())), ("sd", float(returns.std())))
    }
    words = {
        name: None if value is None else "within" if abs(value) <= TARGETS[name] else "outside"
        for name, value in difference.items()
    }
    return {"returns": published, "difference": difference, "target": TARGETS, "word": words, "episodes": len(returns)}


def round_edges(values: np.ndarray, most: int = BINS, least: float = 0.0) -> np.ndarray:
    """Edges of at most `most` bins around all values, of one width: 1, 2 or 5 times a power of ten, `least` or more."""
    low, high = float(np.min(values)), float(np.max(values))
    if low == high:
        return np.array([math.floor(low), math.floor(low) + 1.0])
    power = 10.0 ** math.floor(math.log10(max((high - low) / most, least)))
    for width in (power * factor for factor in (1, 2, 5, 10, 20)):
        first, last = math.floor(low / width), math.floor(high / width) + 1
        if width >= least and last - first <= most:
            break
    edges = np.arange(first, last + 1) * width
    edges[0] = min(edges[0], low)  # the product may round up
    return edges


def spread(values: np.ndarray) -> dict[str, float]:
    """Mean, standard deviation (of the values themselves), least and greatest."""
    mean, sd = values.mean(dtype=np.float64), values.std(dtype=np.float64)
    return {"mean": float(mean), "sd": float(sd), "min": float(values.min()), "max": float(values.max())}


def _counts(values: np.ndarray, edges: np.ndarray) -> list[int]:
    return np.histogram(values, edges)[0].tolist()


def _actions(actions: np.ndarray) -> dict:
    """Ranges and histograms of actions [step, agent, action], and the share of them at or beyond the bounds -1 and 1."""
    agents = []
    for agent in range(actions.shape[1]):
        columns = [actions[:, agent, index] for index in range(actions.shape[2])]
        agents.append(
            {
                "columns": [spread(column) for column in columns],
                "at_bounds": float(np.mean([np.mean(np.abs(column) >= 1.0) for column in columns])),
                "beyond_bounds": float(np.mean([np.mean(np.abs(column) > 1.0) for column in columns])),
                "counts": [_counts(np.clip(column, -1.0, 1.0), ACTION_EDGES) for column in columns],
            }
        )
    shares = {name: float(np.mean([agent[name] for agent in agents])) for name in ("at_bounds", "beyond_bounds")}
    return spread(actions) | shares | {"edges": ACTION_EDGES.tolist(), "agents": agents}


def _coverage(dataset: hdf5.Dataset) -> dict:
    """Joint SACo of the exact numbers and of the grid's cells."""
    steps = dataset.transitions
    sums = np.zeros((2, get_environment(dataset.attributes["environment"]).state_size))
    origin = next(_states(dataset))[1][0].astype(np.float64)  # shifted, or large states with small spreads would cancel
    for _, states in _states(dataset):
        shifted = states.astype(np.float64) - origin
        sums += shifted.sum(axis=0), np.square(shifted).sum(axis=0)
    mean = sums[0] / steps
    sd = np.sqrt(np.maximum(sums[1] / steps - np.square(mean), 0.0))
    width = np.where(sd > 0, STATE_CELL * sd, 1.0)
    exact, cells = np.zeros(steps, dtype=np.uint64), np.zeros(steps, dtype=np.uint64)
    for chunk, states in _states(dataset):
        actions = dataset.actions[chunk].reshape(len(states), -1)
        pairs = np.concatenate([states, actions], axis=1) + np.float32(0.0)  # -0 becomes 0
        exact[chunk] = _digests(pairs.view(np.uint32))
        grid = [np.floor((states - origin - mean) / width), np.clip(np.floor(actions / ACTION_CELL), -1.0 / ACTION_CELL, 0.0)]
        cells[chunk] = _digests(np.concatenate(grid, axis=1).astype(np.int64).view(np.uint64))
    return {
        "joint_saco": len(np.unique(exact)) / steps,
        "joint_saco_grid": len(np.unique(cells)) / steps,
        "cells": len(np.unique(cells)),
        "state_cell_sds": STATE_CELL,
        "state_cell": width.tolist(),
        "action_cell": ACTION_CELL,
    }


def _states(dataset: hdf5.Dataset) -> Iterator[tuple[slice, np.ndarray]]:
    """The states [step, S] part by part, so that not all of them are in memory where they are derived."""
    environment = get_environment(dataset.attributes["environment"])
    rows = hdf5.before_actions(dataset.lengths)
    for start in range(0, dataset.transitions, _CHUNK):
        chunk = slice(start, start + _CHUNK)
        if dataset.layout == "physics":
            yield chunk, environment.state(dataset.physics[rows[chunk]])
        else:
            yield chunk, dataset.states[chunk]


def _digests(rows: np.ndarray) -> np.ndarray:
    """64 bits for each row of unsigned integers [row, column]; of a million rows, two agree by chance in one of 10^7 datasets."""
    digests = np.full(len(rows), 0x9E3779B97F4A7C15, dtype=np.uint64)
    for column in rows.T:
        digests = (digests ^ column) * np.uint64(0xD6E8FEB86659FD93)
        digests ^= digests >> np.uint64(32)
    return digests


def _distances(dataset: hdf5.Dataset, behaviour: list[policies.BehaviourPolicy | None], seed: int) -> dict:
    """Mean absolute differences of actions, over agents and the numbers of an action: what PJAP's priority is made of.

    Of policy k in the states that policy j visited: `between`[k][j] to the action of policy j, `to_data`[k][j] to the
    action in the data. So `to_data`[j][j] is the noise floor of policy j. None where k, or for `between` j, is not known,
    or j has no data.
    """
    count = len(behaviour)
    environment = get_environment(dataset.attributes["environment"])
    policy_of_step = np.repeat(dataset.policy, dataset.lengths)
    rows = hdf5.before_actions(dataset.lengths)
    between, to_data = ([[None] * count for _ in range(count)] for _ in range(2))
    sampled = []
    for j in range(count):
        steps = np.flatnonzero(policy_of_step == j)
        random = np.random.default_rng(np.random.SeedSequence([seed, j]))
        steps = np.sort(random.choice(steps, min(len(steps), SAMPLED_STATES // count), replace=False))
        sampled.append(len(steps))
        if not len(steps) or not any(behaviour):
            continue
        if dataset.layout == "physics":
            observations = environment.observations(dataset.physics[rows[steps]].astype(np.float64))
        else:
            observations = dataset.observations[steps].astype(np.float64)
        data = dataset.actions[steps].reshape(len(steps), -1)
        actions = [policy and policy(observations) for policy in behaviour]
        for k, of_k in enumerate(actions):
            if of_k is not None:
                to_data[k][j] = float(np.abs(of_k - data).mean())
                if actions[j] is not None:
                    between[k][j] = float(np.abs(of_k - actions[j]).mean())
    return {"between": between, "to_data": to_data, "states": sampled, "seed": seed}


def _pinned(dataset: hdf5.Dataset, card: dict) -> list[tuple[dict, int] | None]:
    """The card that pins each behaviour policy of the dataset, and the policy's place in it; None where no card does."""
    sources = [card, *(cards.load(part.dataset) for part in cards.parts(card))]
    places = {
        policy.get("sha256"): (source, place) for source in sources for place, policy in enumerate(source.get("policies", []))
    }
    return [places.get(digest) for digest in dataset.attributes["policy_sha256"]]
