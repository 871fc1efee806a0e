"""Trains behaviour policies: MATD3 (Ackermann et al., 2019) as OG-MARL's data were collected, from scratch on one core.

Decentralised actors, twin centralised critics with layer normalisation, n-step targets, several exploration levels side
by side. A terminal of the task ends the bootstrap; the time limit does not (the task goes on), unlike in the offline
learner, which follows the paper. It stops on updates, never on wall clock. Every setting comes from `behaviour` in
workflow/config/paper.yaml.
"""

import copy
import itertools
import json
import sys
import textwrap
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import yaml
from torch import Tensor
from torch.nn.functional import linear

from pjap_bench import files, products
from pjap_bench.behaviour import policy as policies
from pjap_bench.behaviour.play import play
from pjap_bench.datasets import cards
from pjap_bench.environments import MujocoTask
from pjap_bench.environments import get as get_environment
from pjap_bench.errors import BenchError

#: a stuck seed is replaced by itself plus this
SEED_STEP = 100
SEED_ATTEMPTS = 12
#: of the snapshots that played while learning went on, around so many of the nearest to the level the others play too
REFINED = 2


class StuckSeed(Exception):
    """A seed that did not become an upright runner of the wanted level."""


class Snapshot(NamedTuple):
    """The actors after some updates, and how they play with the data's noise."""

    updates: int
    weights: list[np.ndarray]  # per layer [agents, in, out]
    biases: list[np.ndarray]  # per layer [agents, out]
    mean_return: float | None = None  # None: it has not played
    sd_return: float | None = None
    upright: float | None = None  # share of steps


def retrain(dataset: str, name: str, settings: dict, output: Path) -> None:
    """Trains the behaviour policy `name` of a dataset's card to the level that the card states, from the card's seed.

    The card's `training` overrides `settings`; its policies are measured with the card's noise. A stuck seed is replaced by
    seed + 100; the metadata of the file says which seed it became. The last lines of the log are its finished entry for the card.

    Raises:
        BenchError: no such policy in the card.
    """
    card = cards.load(dataset)
    settings = settings | card.get("training", {}) | {"noise": card.get("noise")}
    found = [policy for policy in card.get("policies", []) if policy["name"] == name]
    if not found:
        raise BenchError(f"no behaviour policy '{name}'", where=f"card of {dataset}", do="use a name that the card lists")
    products.set_up(threads=1)
    for attempt in range(SEED_ATTEMPTS):
        seed = found[0]["seed"] + attempt * SEED_STEP
        try:
            with products.large():
                chosen = train(get_environment(card["environment"]), found[0]["level"], settings, seed, _say)
            break
        except StuckSeed as error:
            _say(str(error))
    else:
        raise BenchError(
            f"{SEED_ATTEMPTS} seeds got stuck",
            where=name,
            do="lower its level in the card, or raise max_updates and patience (`training` of the card, else `behaviour`)",
        )
    metadata = {
        "environment": card["environment"],
        "level": str(found[0]["level"]),
        "seed": str(seed),
        "updates": str(chosen.updates),
        "mean_return": str(chosen.mean_return),
        "sd_return": str(chosen.sd_return),
        "upright": str(chosen.upright),
        "settings": json.dumps(settings, sort_keys=True),
    }
    policies.save(output, chosen.weights, chosen.biases, metadata)
    _say(_finished(dataset, found[0] | {"seed": seed}, chosen, output))


def _finished(dataset: str, entry: dict, chosen: Snapshot, output: Path) -> str:
    """What is to be done with a trained policy, and its finished entry in the card."""
    entry = {key: entry[key] for key in ("name", "file")} | {
        "sha256": files.sha256(output),
        "level": entry["level"],
        "seed": entry["seed"],
        "updates": chosen.updates,
        "mean_return": round(chosen.mean_return, 1),
        "sd_return": round(chosen.sd_return, 1),
        "upright": round(chosen.upright, 3),
    }
    entry_text = textwrap.indent(yaml.safe_dump([entry], sort_keys=False), "  ")
    return f"To pin it, copy {output} to {entry['file']}; its entry in datasets/{dataset}.yaml is then\n{entry_text}"


def train(environment_class: type[MujocoTask], level: float, settings: dict, seed: int, log: Callable[[str], None]) -> Snapshot:
    """Trains one system until its noisy return reaches `level`, or never will at its pace, and gives a snapshot near to it.

    While it learns, every `screening_every`-th snapshot plays a few episodes; then those around the two nearest to the
    level do. The `candidates` nearest by then play `evaluation_episodes`, the nearest first: the first that is healthy and
    within the tolerance is the one. (When the pinned policies were trained, all snapshots and all candidates played, and
    no training ended by its pace.)

    Raises:
        StuckSeed: this seed got stuck (another gait than running upright, or never near the level): take the next one.
    """
    snapshots = _learn(environment_class, level, settings, seed, log)
    allowed = _allowed(level, settings)
    # A steady policy's mean over the few episodes lies no further than this from its mean over many, but for chance.
    doubt = 3 * settings["steady_sd"] / settings["screening_episodes"] ** 0.5

    def off(place: int) -> float:
        return abs(snapshots[place].mean_return - level)

    def nearest_first(chosen: Iterable[int]) -> list[int]:
        return sorted((place for place in chosen if snapshots[place].upright >= settings["upright_share"]), key=off)

    screened = [place for place, snapshot in enumerate(snapshots) if snapshot.mean_return is not None]
    reach = settings["screening_every"] - 1
    around = {
        place
        for middle in nearest_first(screened)[:REFINED]
        for place in range(max(middle - reach, 0), min(middle + reach + 1, len(snapshots)))
    }
    for place in sorted(around.difference(screened)):
        snapshots[place] = _play(environment_class, snapshots[place], settings, settings["screening_episodes"], seed)
        log(f"  between: {_describe(snapshots[place])}")
    for place in nearest_first(around.union(screened))[: settings["candidates"]]:
        if off(place) > allowed + doubt:
            break
        snapshots[place] = played = _play(environment_class, snapshots[place], settings, settings["evaluation_episodes"], seed)
        log(f"  candidate: {_describe(played)}")
        if off(place) <= allowed and played.upright >= settings["upright_share"] and played.sd_return <= settings["steady_sd"]:
            return played
    raise StuckSeed(f"seed {seed} is stuck: no upright, steady policy near a return of {level:.0f}")


def _learn(
    environment_class: type[MujocoTask], level: float, settings: dict, seed: int, log: Callable[[str], None]
) -> list[Snapshot]:
    torch.manual_seed(seed)  # initialisation only; every later draw comes from `random`
    random = np.random.default_rng(np.random.SeedSequence([seed, 1]))
    noise_source = torch.Generator().manual_seed(seed)
    environments = settings["environments"]
    environment = environment_class(environments)
    agents, width = environment.agents, environment.agents * environment.action_size
    mask = torch.ones(environment.observation_size)
    mask[list(environment.unbounded_observations)] = 0.0

    actor = _Actors(agents, environment.observation_size, settings["actor_width"], environment.action_size)
    critic = _TwinCritics(environment.state_size + width, settings["critic_width"])
    target_actor, target_critic = _copy(actor), _copy(critic)
    targets = [*target_actor.parameters(), *target_critic.parameters()]
    followed = [*actor.parameters(), *critic.parameters()]
    actor_optimiser = _Adam(actor, settings["learning_rate"])
    critic_optimiser = _Adam(critic, settings["learning_rate"])

    n, gamma, batch = settings["n_step"], settings["discount"], settings["batch"]
    horizon = environment.horizon
    replay = _Replay(settings["capacity"] // environments // horizon * horizon, environment, n, gamma)
    sigmas = np.linspace(*settings["exploration"], environments)[:, None]

    def observe(physics: np.ndarray) -> tuple[Tensor, Tensor]:
        observations = torch.as_tensor(environment.observations(physics), dtype=torch.float32) * mask
        return observations, torch.as_tensor(environment.state(physics), dtype=torch.float32)

    snapshots: list[Snapshot] = []
    ended, updates, step = False, 0, 0
    age = np.zeros(environments, dtype=int)
    over = np.ones(environments, dtype=bool)  # the next step begins a new episode
    while updates < settings["max_updates"] and not ended:
        for _ in range(horizon):
            if over.any():
                now = environment.reset(random.integers(2**31, size=over.sum()).tolist(), np.flatnonzero(over))
                age[over] = 0
            if step < settings["random_steps"]:
                action = random.uniform(-1, 1, (environments, width))
            else:
                with torch.no_grad():
                    action = actor(observe(now)[0]).flatten(1).numpy()
                action = np.clip(action + sigmas * random.standard_normal(action.shape), -1, 1)
            action = action.astype(np.float32)
            after, reward, terminal = environment.step(action)
            # training only: lying on the back pays, so it is charged for
            reward = settings["reward_scale"] * (reward - settings["back_penalty"] * environment.fallen(after))
            replay.add(over, now, action, reward, after, terminal)
            now = after
            age += 1
            over = terminal | (age == horizon)
            step += 1
            # Often on the way up, where a return of 1000 is passed in no time; rarely later; never of untrained actors.
            early = step < settings["early_steps"]
            if updates and step % (settings["snapshot_early"] if early else horizon) == 0:
                snapshots.append(Snapshot(updates, *actor.arrays()))
                # Playing costs more than learning so long: the others wait until it is known which are near.
                if not early or len(snapshots) % settings["screening_every"] == 0:
                    snapshots[-1] = _play(environment_class, snapshots[-1], settings, settings["screening_episodes"], seed)
                    log(f"seed {seed}: {_describe(snapshots[-1])}")
            if step < settings["random_steps"]:
                continue
            for _ in range(settings["updates_per_step"]):
                window = replay.draw(batch, random)
                observations, state = observe(window.before)
                next_observations, next_state = observe(window.after)
                taken, gains, continues = (torch.as_tensor(part) for part in (window.actions, window.gains, window.continues))
                with torch.no_grad():
                    smoothing = torch.randn(batch, width, generator=noise_source) * settings["target_noise"]
                    clip = settings["target_noise_clip"]
                    next_action = (target_actor(next_observations).flatten(1) + smoothing.clamp(-clip, clip)).clamp(-1, 1)
                    target = gains + gamma**n * target_critic(next_state, next_action).amin(0) * continues
                loss = (critic(state, taken) - target).square().mean() * 2  # both twins
                critic_optimiser.descend(loss)
                updates += 1
                if updates % settings["policy_delay"] == 0:
                    loss = -critic.first(state, actor(observations).flatten(1)).mean()
                    actor_optimiser.descend(loss)
                    with torch.no_grad():
                        torch._foreach_lerp_(targets, followed, settings["tau"])
        played = [snapshot for snapshot in snapshots if snapshot.mean_return is not None]
        ended = bool(played) and _ended(played, level, settings)
    return snapshots


def _ended(played: list[Snapshot], level: float, settings: dict) -> bool:
    """Whether the level is passed, or out of reach at the pace of the last doubling of the updates.

    Returns grow about as a power of the updates; one below 1 counts as 1. A seed that would miss the level goes on until it
    is near enough, unless it would miss that as well. None is given up before `patience` updates.
    """
    updates, best = played[-1].updates, max(snapshot.mean_return for snapshot in played)
    if best >= level + settings["overshoot"]:
        return True
    if updates < settings["patience"]:
        return False
    before = max((snapshot.mean_return for snapshot in played if snapshot.updates <= updates / 2), default=1.0)
    best, before = max(best, 1.0), max(before, 1.0)
    within_reach = best * (best / before) ** np.log2(settings["max_updates"] / updates)
    near = level - _allowed(level, settings) + settings["overshoot"]
    return within_reach < (level if best >= near else near)


def _allowed(level: float, settings: dict) -> float:
    """How far from the level a policy's mean return may lie."""
    return settings["tolerance"] * max(abs(level), 1000.0)


def _play(environment_class: type[MujocoTask], snapshot: Snapshot, settings: dict, episodes: int, seed: int) -> Snapshot:
    """The snapshot with the return that it has in the data, over so many episodes."""
    player = policies.BehaviourPolicy(snapshot.weights, snapshot.biases, environment_class.unbounded_observations, {})
    seeds = np.random.SeedSequence([seed, 2]).generate_state(episodes).tolist()
    played = play(player, environment_class(episodes), seeds, settings["noise"])
    upright = float(environment_class.upright(played.physics).mean())
    return snapshot._replace(mean_return=float(played.returns.mean()), sd_return=float(played.returns.std()), upright=upright)


def _describe(snapshot: Snapshot) -> str:
    returned = f"{snapshot.mean_return:.0f} (sd {snapshot.sd_return:.0f})"
    return f"after {snapshot.updates} updates a return of {returned}, upright {snapshot.upright:.3f}"


class _Window(NamedTuple):
    """Windows of n steps of one environment each: where they begin, what was done there, what came of it."""

    before: np.ndarray  # [batch, physics]
    actions: np.ndarray  # [batch, agents * action], of the first step
    gains: np.ndarray  # [batch], discounted
    after: np.ndarray  # [batch, physics], n steps later
    continues: np.ndarray  # [batch] float32: 0 where a terminal came before


class _Replay:
    """A ring of the latest steps of environments side by side."""

    def __init__(self, capacity: int, environment: MujocoTask, n: int, discount: float):
        shape = (capacity, environment.episodes)
        self._before = np.zeros((*shape, environment.physics_size), dtype=np.float32)
        self._after = np.zeros_like(self._before)
        self._actions = np.zeros((*shape, environment.agents * environment.action_size), dtype=np.float32)
        self._rewards = np.zeros(shape, dtype=np.float32)
        self._terminal = np.zeros(shape, dtype=bool)
        self._episode = np.zeros(shape, dtype=np.int32)  # which of its environment's episodes a step belongs to
        self._episodes = np.zeros(environment.episodes, dtype=np.int32)
        self._discounts = discount ** np.arange(n, dtype=np.float32)
        self._steps = 0

    def add(self, begins: np.ndarray, before, actions, rewards, after, terminal) -> None:
        """One step of all environments; `begins` says where it is the first of an episode."""
        row = self._steps % len(self._before)
        self._episodes += begins
        self._before[row], self._actions[row], self._rewards[row] = before, actions, rewards
        self._after[row], self._terminal[row], self._episode[row] = after, terminal, self._episodes
        self._steps += 1

    def draw(self, batch: int, random: np.random.Generator) -> _Window:
        """Uniform windows; what follows a terminal counts for nothing.

        A window that would run into another episode without a terminal (over a time limit or the ring's newest row) is
        moved back by n. The one in ten million that then still does is kept, as when the pinned policies were trained.
        """
        n, environments = len(self._discounts), self._before.shape[1]
        first = random.integers(0, min(self._steps, len(self._before)) - n + 1, size=batch)
        column = random.integers(0, environments, size=batch)
        ahead = np.arange(n) * environments
        window = (first * environments + column)[:, None] + ahead  # [batch, n]: places in the ring seen as one row
        counts, _ = self._until_terminal(window)
        episode = self._episode.take(window)
        crossing = (counts & (episode != episode[:, :1])).any(axis=1)
        if crossing.any():
            first = np.where(crossing, np.maximum(first - n, 0), first)
            window = (first * environments + column)[:, None] + ahead
        counts, continues = self._until_terminal(window)
        return _Window(
            _rows(self._before, window[:, 0]),
            _rows(self._actions, window[:, 0]),
            (self._rewards.take(window) * counts) @ self._discounts,
            _rows(self._after, window[:, -1]),
            continues.astype(np.float32),
        )

    def _until_terminal(self, window: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which steps of the windows come before a terminal or are one [batch, n], and which windows have none [batch]."""
        ends = self._terminal.take(window)
        return np.cumsum(ends, axis=1) - ends == 0, ~ends.any(axis=1)


def _rows(ring: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Some vectors of a ring [step, environment, size] -> [batch, size]."""
    return ring.reshape(-1, ring.shape[-1]).take(places, axis=0)


class _Actors(torch.nn.Module):
    """One multilayer perceptron per agent, [batch, agent, observation] -> [batch, agent, action]."""

    def __init__(self, agents: int, observation: int, width: int, action: int):
        super().__init__()
        sizes = [observation, width, width, action]
        pairs = list(itertools.pairwise(sizes))
        self.weights = torch.nn.ParameterList((torch.rand(agents, i, o) * 2 - 1) / i**0.5 for i, o in pairs)
        self.biases = torch.nn.ParameterList(torch.zeros(agents, 1, o) for _, o in pairs)

    def forward(self, observations: Tensor) -> Tensor:
        hidden = observations.transpose(0, 1)
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            hidden = torch.baddbmm(bias, hidden, weight)
            hidden = hidden.relu_() if layer < len(self.weights) - 1 else hidden.tanh()
        return hidden.transpose(0, 1)

    def arrays(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Copies of the weights [agents, in, out] and biases [agents, out]."""
        weights = [weight.detach().numpy().copy() for weight in self.weights]
        return weights, [bias.detach().numpy()[:, 0].copy() for bias in self.biases]


class _TwinCritics(torch.nn.Module):
    """Two value functions of state and joint action: -> [2, batch]."""

    def __init__(self, inputs: int, width: int):
        super().__init__()
        self.twins = torch.nn.ModuleList(
            torch.nn.ModuleList(
                [
                    torch.nn.Linear(inputs, width),
                    torch.nn.LayerNorm(width),
                    torch.nn.Linear(width, width),
                    torch.nn.LayerNorm(width),
                    torch.nn.Linear(width, 1),
                ]
            )
            for _ in range(2)
        )

        # Taken out once: calling modules in modules costs a seventh of the forward pass.
        self._tensors = [list(twin.parameters()) for twin in self.twins]

    def forward(self, state: Tensor, action: Tensor) -> Tensor:
        inputs = torch.cat([state, action], dim=-1)
        return torch.stack([self._value(tensors, inputs) for tensors in self._tensors])

    def first(self, state: Tensor, action: Tensor) -> Tensor:
        """The first twin alone, which the policy climbs."""
        return self._value(self._tensors[0], torch.cat([state, action], dim=-1))

    @staticmethod
    def _value(tensors: list[Tensor], hidden: Tensor) -> Tensor:
        """One twin, [batch, inputs] -> [batch]; its tensors are in the order of its layers."""
        for layer in (0, 4):
            weight, bias, scale, shift = tensors[layer : layer + 4]
            hidden = torch.layer_norm(linear(hidden, weight, bias), bias.shape, scale, shift).relu_()
        return linear(hidden, *tensors[8:])[:, 0]


class _Adam:
    """torch's fused Adam, bit for bit, without what torch.optim does around it: a twelfth of a training's time."""

    def __init__(self, network: torch.nn.Module, rate: float):
        self._parameters = list(network.parameters())
        self._means, self._squares = ([torch.zeros_like(each) for each in self._parameters] for _ in range(2))
        self._steps = torch.tensor(0.0)  # one count for all tensors
        self._rate = rate

    def descend(self, loss: Tensor) -> None:
        """One step down the gradient of this network alone; that of others through which the loss came is not computed."""
        gradients = torch.autograd.grad(loss, self._parameters)
        self._steps += 1
        with torch.no_grad():
            torch._fused_adam_(
                self._parameters,
                gradients,
                self._means,
                self._squares,
                [],
                [self._steps] * len(self._parameters),
                lr=self._rate,
                beta1=0.9,
                beta2=0.999,
                weight_decay=0.0,
                eps=1e-8,
                amsgrad=False,
                maximize=False,
            )


def _copy(module: torch.nn.Module) -> torch.nn.Module:
    return copy.deepcopy(module).requires_grad_(False)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
