"""Trains behaviour policies: MATD3 (Ackermann et al., 2019) as OG-MARL's data were collected, from scratch on one core.

Decentralised actors, twin centralised critics with layer normalisation, n-step targets, several exploration levels side
by side. It never bootstraps less at the time limit (the task has no end), unlike the offline learner, which follows the
paper. It stops on updates, never on wall clock. Every setting comes from `behaviour` in workflow/config/paper.yaml.
"""

import copy
import itertools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pjap_bench import files, products
from pjap_bench.behaviour import policy as policies
from pjap_bench.behaviour.play import play
from pjap_bench.datasets import cards
from pjap_bench.environments import TwoAgentHalfCheetah
from pjap_bench.environments import get as get_environment
from pjap_bench.errors import BenchError

#: a stuck seed is replaced by itself plus this
SEED_STEP = 100
SEED_ATTEMPTS = 5


class StuckSeed(Exception):
    """A seed that did not become an upright runner of the wanted level."""


class Snapshot(NamedTuple):
    """The actors after some updates, and how they play with the data's noise."""

    updates: int
    weights: list[np.ndarray]  # per layer [agents, in, out]
    biases: list[np.ndarray]  # per layer [agents, out]
    mean_return: float
    sd_return: float
    upright: float  # share of steps


def retrain(dataset: str, name: str, settings: dict, output: Path) -> None:
    """Trains the behaviour policy `name` of a dataset's card to the level that the card states, from the card's first seed.

    A stuck seed is replaced by seed + 100; the metadata of the file says which seed it became.

    Raises:
        BenchError: no such policy in the card.
    """
    card = cards.load(dataset)
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
            f"{SEED_ATTEMPTS} seeds got stuck", where=name, do="lower its level in the card, or raise behaviour.max_updates"
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
    _say(f"{name}: {metadata}, sha256 {files.sha256(output)}")


def train(
    environment_class: type[TwoAgentHalfCheetah], level: float, settings: dict, seed: int, log: Callable[[str], None]
) -> Snapshot:
    """Trains one system until its noisy return reaches `level`, and gives the snapshot nearest to it.

    Raises:
        StuckSeed: this seed got stuck (another gait than running upright, or never near the level): take the next one.
    """
    snapshots = _learn(environment_class, level, settings, seed, log)
    nearest = sorted(snapshots, key=lambda snapshot: abs(snapshot.mean_return - level))[: settings["candidates"]]
    played = [_play(environment_class, snapshot, settings, settings["evaluation_episodes"], seed) for snapshot in nearest]
    for snapshot in played:
        log(f"  {_describe(snapshot)}")
    healthy = [snapshot for snapshot in played if snapshot.upright >= settings["upright_share"]]
    best = min(healthy, key=lambda snapshot: abs(snapshot.mean_return - level), default=None)
    if best is None or abs(best.mean_return - level) > settings["tolerance"] * max(abs(level), 1000.0):
        raise StuckSeed(f"seed {seed} is stuck: no upright policy near a return of {level:.0f}")
    return best


def _learn(environment_class, level: float, settings: dict, seed: int, log: Callable[[str], None]) -> list[Snapshot]:
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
    actor_optimiser = torch.optim.Adam(actor.parameters(), lr=settings["learning_rate"], fused=True)
    critic_optimiser = torch.optim.Adam(critic.parameters(), lr=settings["learning_rate"], fused=True)

    n, gamma, batch = settings["n_step"], settings["discount"], settings["batch"]
    horizon = environment.horizon
    capacity = settings["capacity"] // environments // horizon * horizon
    before = np.zeros((capacity, environments, environment.physics_size), dtype=np.float32)
    after = np.zeros_like(before)
    actions = np.zeros((capacity, environments, width), dtype=np.float32)
    rewards = np.zeros((capacity, environments), dtype=np.float32)
    sigmas = np.linspace(*settings["exploration"], environments)[:, None]
    discounts = gamma ** np.arange(n, dtype=np.float32)

    def observe(physics: np.ndarray) -> tuple[Tensor, Tensor]:
        observations = torch.as_tensor(environment.observations(physics), dtype=torch.float32) * mask
        return observations, torch.as_tensor(environment.state(physics), dtype=torch.float32)

    snapshots: list[Snapshot] = []
    reached, updates, step = False, 0, 0
    while updates < settings["max_updates"] and not reached:
        now = environment.reset(random.integers(2**31, size=environments).tolist())
        start = step % capacity
        for tick in range(horizon):
            row = start + tick
            if step < settings["random_steps"]:
                action = random.uniform(-1, 1, (environments, width))
            else:
                with torch.no_grad():
                    action = actor(observe(now)[0]).flatten(1).numpy()
                action = np.clip(action + sigmas * random.standard_normal(action.shape), -1, 1)
            before[row], actions[row] = now, action
            now, reward = environment.step(actions[row])
            # training only: lying on the back pays, so it is charged for
            rewards[row] = settings["reward_scale"] * (reward - settings["back_penalty"] * (np.cos(now[:, 2]) < 0))
            after[row] = now
            step += 1
            # Often on the way up, where a return of 1000 is passed in no time; rarely later.
            if step % (settings["snapshot_early"] if step < settings["early_steps"] else horizon) == 0:
                snapshot = Snapshot(updates, *actor.arrays(), 0.0, 0.0, 0.0)
                snapshots.append(_play(environment_class, snapshot, settings, settings["screening_episodes"], seed))
                log(f"seed {seed}: {_describe(snapshots[-1])}")
            if step < settings["random_steps"]:
                continue
            for _ in range(settings["updates_per_step"]):
                # windows of n steps: moved back where they would cross an episode's end or the ring's newest row
                first = random.integers(0, min(step, capacity) - n + 1, size=batch)
                crossing = (first // horizon != (first + n - 1) // horizon) | ((first <= row) & (row < first + n - 1))
                first = np.where(crossing, np.maximum(first - n, 0), first)
                column = random.integers(0, environments, size=batch)
                window = first[:, None] + np.arange(n)
                gains = torch.as_tensor(rewards[window, column[:, None]] @ discounts)
                observations, state = observe(before[first, column])
                next_observations, next_state = observe(after[first + n - 1, column])
                taken = torch.as_tensor(actions[first, column])
                with torch.no_grad():
                    smoothing = torch.randn(batch, width, generator=noise_source) * settings["target_noise"]
                    clip = settings["target_noise_clip"]
                    next_action = (target_actor(next_observations).flatten(1) + smoothing.clamp(-clip, clip)).clamp(-1, 1)
                    target = gains + gamma**n * target_critic(next_state, next_action).amin(0)
                loss = (critic(state, taken) - target).square().mean() * 2  # both twins
                critic_optimiser.zero_grad()
                loss.backward()
                critic_optimiser.step()
                updates += 1
                if updates % settings["policy_delay"] == 0:
                    loss = -critic.first(state, actor(observations).flatten(1)).mean()
                    actor_optimiser.zero_grad()
                    loss.backward()
                    actor_optimiser.step()
                    _follow(target_actor, actor, settings["tau"])
                    _follow(target_critic, critic, settings["tau"])
        reached = any(snapshot.mean_return >= level + settings["overshoot"] for snapshot in snapshots)
    return snapshots


def _play(environment_class, snapshot: Snapshot, settings: dict, episodes: int, seed: int) -> Snapshot:
    """The snapshot with the return that it has in the data, over so many episodes."""
    player = policies.BehaviourPolicy(snapshot.weights, snapshot.biases, environment_class.unbounded_observations, {})
    seeds = np.random.SeedSequence([seed, 2]).generate_state(episodes).tolist()
    played = play(player, environment_class(episodes), seeds, settings["noise"])
    upright = float(environment_class.upright(played.physics).mean())
    return snapshot._replace(mean_return=float(played.returns.mean()), sd_return=float(played.returns.std()), upright=upright)


def _describe(snapshot: Snapshot) -> str:
    returned = f"{snapshot.mean_return:.0f} (sd {snapshot.sd_return:.0f})"
    return f"after {snapshot.updates} updates a return of {returned}, upright {snapshot.upright:.3f}"


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
            hidden = hidden.relu() if layer < len(self.weights) - 1 else hidden.tanh()
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
            torch.nn.Sequential(
                torch.nn.Linear(inputs, width),
                torch.nn.LayerNorm(width),
                torch.nn.ReLU(),
                torch.nn.Linear(width, width),
                torch.nn.LayerNorm(width),
                torch.nn.ReLU(),
                torch.nn.Linear(width, 1),
            )
            for _ in range(2)
        )

    def forward(self, state: Tensor, action: Tensor) -> Tensor:
        inputs = torch.cat([state, action], dim=-1)
        return torch.stack([twin(inputs)[:, 0] for twin in self.twins])

    def first(self, state: Tensor, action: Tensor) -> Tensor:
        """The first twin alone, which the policy climbs."""
        return self.twins[0](torch.cat([state, action], dim=-1))[:, 0]


def _copy(module: torch.nn.Module) -> torch.nn.Module:
    return copy.deepcopy(module).requires_grad_(False)


def _follow(target: torch.nn.Module, online: torch.nn.Module, rate: float) -> None:
    with torch.no_grad():
        for slow, fast in zip(target.parameters(), online.parameters(), strict=True):
            slow.lerp_(fast, rate)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
