"""What the notebook's controls mean: from their values to a game, its data, and what is learnt with and without PJAP.

Every number comes from `pjap_bench.games`; here are only the choices that a person makes.
"""

import dataclasses
import functools
import json

import numpy as np

from pjap_bench.errors import BenchError
from pjap_bench.games import theory
from pjap_bench.games.kernels import l1
from pjap_bench.games.learning import learn_full_batch, learn_offline, learn_online
from pjap_bench.games.polynomial import CriticalPoint, PolynomialGame, preset, twin_peaks
from pjap_bench.games.sampling import priorities

OWN_GAME = "own"
# Larger matrices would make a picture slow and show nothing that a small one does not.
LARGEST_MATRIX = 7
LARGEST_COEFFICIENT = 1e6
ARROWS = 15  # of a field, along each side
CURVE_POINTS = 200


@dataclasses.dataclass(frozen=True)
class Settings:
    """The value of every control, with its label."""

    game: str = dataclasses.field(metadata={"label": "Reward"})
    coefficients: str = dataclasses.field(metadata={"label": "Coefficients cᵢⱼ of xⁱyʲ, row i, column j"})
    view: float = dataclasses.field(metadata={"label": "View: half width"})
    source: str = dataclasses.field(metadata={"label": "Learns from"})
    distribution: str = dataclasses.field(metadata={"label": "Distribution"})
    centre_x: float = dataclasses.field(metadata={"label": "Centre x"})
    centre_y: float = dataclasses.field(metadata={"label": "Centre y"})
    spread: float = dataclasses.field(metadata={"label": "Spread"})
    points: int = dataclasses.field(metadata={"label": "Points"})
    recentred: bool = dataclasses.field(metadata={"label": "Sample mean exactly there"})
    buffer_size: int = dataclasses.field(metadata={"label": "Replay buffer"})
    exploration_sigma: float = dataclasses.field(metadata={"label": "Exploration σ"})
    seed: int = dataclasses.field(metadata={"label": "Seed"})
    start_x: float = dataclasses.field(metadata={"label": "Start x"})
    start_y: float = dataclasses.field(metadata={"label": "Start y"})
    learning_rate: float = dataclasses.field(metadata={"label": "Learning rate"})
    steps: int = dataclasses.field(metadata={"label": "Steps"})
    batch: int | None = dataclasses.field(metadata={"label": "Batch"})  # None: all data
    sampler: str = dataclasses.field(metadata={"label": "Sampler"})
    alpha: float = dataclasses.field(metadata={"label": "α"})
    epsilon: float = dataclasses.field(metadata={"label": "ε"})
    exponent: float = dataclasses.field(metadata={"label": "Exponent"})
    initial_priority: float = dataclasses.field(metadata={"label": "First priority"})
    kernel: str = dataclasses.field(metadata={"label": "Kernel"})
    distance: str = dataclasses.field(metadata={"label": "Distance"})
    refresh: str = dataclasses.field(metadata={"label": "Refreshed"})
    rounds: int = dataclasses.field(metadata={"label": "Rounds"})

    @property
    def pjap(self) -> dict:
        """The options of PJAP, as `sampling.priorities` takes them."""
        names = ("alpha", "epsilon", "exponent", "initial_priority", "kernel", "distance")
        return {name: getattr(self, name) for name in names}


def groups(game: str, source: str, sampler: str) -> dict[str, list[str]]:
    """The controls that matter under these choices, by heading, in the order in which they are shown."""
    dataset = ["distribution", "centre_x", "centre_y", "spread", "points", "recentred"]
    pjap = ["alpha", "epsilon", "exponent", "initial_priority", "kernel", "distance", "refresh", "rounds"]
    return {
        "Game": ["game", *["coefficients"] * (game == OWN_GAME), "view"],
        "Data": ["source", *(["buffer_size", "exploration_sigma"] if source == "buffer" else dataset), "seed"],
        "Learning": ["start_x", "start_y", "learning_rate", "steps", "batch"],
        "Sampling": ["sampler", *pjap * (sampler == "pjap")],
    }


LABELS = {field.name: field.metadata["label"] for field in dataclasses.fields(Settings)}


@dataclasses.dataclass(frozen=True, eq=False)
class Arm:
    """One way to learn.

    Attributes:
        policies: [step + 1, 2], up to the last that is finite.
        distances: [k], half the L1 distance of the batch (of all data, weighted, for a full batch) to the policy before it.
        distance_steps: [k], the steps at which they were taken.
        data: [item, 2], the dataset, or the buffer after the last step.
        field: [ARROWS, ARROWS, 2], the gradient that this arm follows in expectation, over `grid`.
        diverged: whether the policy left the finite numbers.
    """

    policies: np.ndarray
    distances: np.ndarray
    distance_steps: np.ndarray
    data: np.ndarray
    field: np.ndarray
    diverged: bool


@dataclasses.dataclass(frozen=True, eq=False)
class Study:
    """All that is shown for one setting of the controls.

    Attributes:
        settings: the controls.
        game: the game they choose.
        arms: "maddpg" and, with the sampler PJAP, "maddpg_pjap".
        grid: [ARROWS, ARROWS, 2], where the fields are shown.
        true_field: [ARROWS, ARROWS, 2].
        critical_points: in the square shown, highest reward first.
        best: the joint action [2] of highest reward in that square, and the reward.
        predicted: [2], where BRUD ends by the closed form of section 3.2; None in games other than Twin Peaks, and online.
    """

    settings: Settings
    game: PolynomialGame
    arms: dict[str, Arm]
    grid: np.ndarray
    true_field: np.ndarray
    critical_points: list[CriticalPoint]
    best: tuple[np.ndarray, float]
    predicted: np.ndarray | None


def as_in_figures(games: dict) -> dict[str, Settings]:
    """The paper's figures as settings of the controls, by a name for the menu.

    The data have the figure's distribution, not its draws. Of a figure's several spreads and starts one is taken; the
    sliders reach the others.

    Args:
        games: the configuration's section `games`.
    """
    peaks = games["twin_peaks"]
    optimum, _ = theory.twin_peaks_optimum(**peaks)
    optimum = round(optimum, 5)
    first, second, third, fourth, fifth = (games[f"figure{number}"] for number in range(1, 6))
    general = Settings(
        game="twin_peaks",
        coefficients=json.dumps(twin_peaks(**peaks).coefficients.tolist()),
        view=1.0,
        source="dataset",
        distribution="gaussian",
        centre_x=optimum,
        centre_y=optimum,
        spread=fifth["sigmas"][-2],
        points=fifth["points"],
        recentred=False,
        buffer_size=second["buffer_sizes"][-1],
        exploration_sigma=second["exploration_sigma"],
        seed=0,
        start_x=fifth["start"][0],
        start_y=fifth["start"][1],
        learning_rate=fifth["learning_rate"],
        steps=fifth["epochs"],
        batch=fifth["batch"],
        sampler="pjap",
        alpha=fifth["pjap"]["alpha"],
        epsilon=fifth["pjap"]["epsilon"],
        exponent=fifth["pjap"]["exponent"],
        initial_priority=fifth["pjap"]["initial_priority"],
        kernel="gaussian",
        distance="l1",
        refresh="sampled",
        rounds=fifth["rounds"],
    )
    brud = dataclasses.replace(general, sampler="uniform", batch=None)

    def changed(**changes) -> Settings:
        start = changes.pop("start")
        return dataclasses.replace(brud, start_x=start[0], start_y=start[1], **changes)

    peaks_data = {name: fourth[name] for name in ("points", "learning_rate", "steps", "start")} | {"spread": fourth["sigmas"][-2]}
    return {
        "Figure 1: one data point": changed(
            game="sign_agreement",
            start=first["policy"],
            centre_x=first["data"][0],
            centre_y=first["data"][1],
            spread=0.0,
            points=1,
            learning_rate=first["learning_rate"],
            steps=1,
        ),
        "Figure 2: online, replay buffer": changed(
            game="sign_agreement",
            source="buffer",
            steps=second["steps"] // 2,  # the figure stops where R exceeds 0.5, which is about here
            **{name: second[name] for name in ("start", "learning_rate", "batch")},
        ),
        "Figure 3: the data's mean": changed(
            game="sign_agreement",
            distribution="uniform",
            centre_x=third["mean"][0],
            centre_y=third["mean"][1],
            spread=(third["high"] - third["low"]) / 2,
            recentred=True,
            start=third["starts"][0],
            **{name: third[name] for name in ("points", "learning_rate", "steps")},
        ),
        "Figure 4a: data around the origin": changed(centre_x=0.0, centre_y=0.0, recentred=True, **peaks_data),
        "Figure 4b: data around the optimum": changed(**peaks_data),
        "Figure 5: PJAP": general,
    }


def study(settings: Settings, games: dict) -> Study:
    """Computes everything that the notebook shows.

    Args:
        games: the configuration's section `games`, for Twin Peaks' A, B and C.

    Raises:
        BenchError: settings that cannot be computed; the message is for the person at the controls.
    """
    game = _game(settings, games)
    side = np.linspace(-settings.view, settings.view, 2 * ARROWS + 1)[1::2]
    grid = np.stack(np.meshgrid(side, side), axis=-1)
    arms = {"maddpg": _learn(game, settings, None, grid)}
    if settings.sampler == "pjap":
        arms["maddpg_pjap"] = _learn(game, settings, settings.pjap, grid)
    predicted = None
    if settings.game == "twin_peaks" and settings.source == "dataset":
        data = arms["maddpg"].data
        # Each agent's limit follows from the other agent's data: the last axis reversed.
        predicted = theory.twin_peaks_limit(data.mean(axis=0), data.var(axis=0), **games["twin_peaks"])[::-1]
    critical_points, best = _landscape(json.dumps(game.coefficients.tolist()), settings.view)
    return Study(settings, game, arms, grid, game.gradient(grid), critical_points, best, predicted)


def read_coefficients(text: str) -> PolynomialGame:
    """A game from a matrix typed as JSON, such as [[0, 0], [0, 1]] for xy.

    Raises:
        BenchError: not a matrix of numbers, or one larger than LARGEST_MATRIX rows or columns or LARGEST_COEFFICIENT.
    """
    try:
        # Whole numbers as floats too: a number of a thousand digits is then infinite, and refused as such.
        rows = json.loads(text, parse_int=float)
    except (ValueError, RecursionError) as error:
        do = "type rows of numbers in brackets, such as [[0, 0], [0, 1]] for xy"
        raise BenchError("not a matrix", where="coefficients", do=do) from error
    game = PolynomialGame(rows, OWN_GAME)
    if max(game.coefficients.shape) > LARGEST_MATRIX:
        rows, columns = game.coefficients.shape
        raise BenchError(f"{rows} rows and {columns} columns", where="coefficients", do=f"give at most {LARGEST_MATRIX} of each")
    if np.abs(game.coefficients).max() > LARGEST_COEFFICIENT:
        do = f"give numbers of at most {LARGEST_COEFFICIENT:g}"
        raise BenchError(f"{np.abs(game.coefficients).max():g} is too large to be drawn", where="coefficients", do=do)
    return game


def _game(settings: Settings, games: dict) -> PolynomialGame:
    if settings.game == OWN_GAME:
        return read_coefficients(settings.coefficients)
    return twin_peaks(**games["twin_peaks"]) if settings.game == "twin_peaks" else preset(settings.game)


@functools.lru_cache(maxsize=32)
def _landscape(coefficients: str, view: float) -> tuple[list[CriticalPoint], tuple[np.ndarray, float]]:
    """The slowest part, and no slider but the view's changes it."""
    game = PolynomialGame(json.loads(coefficients))
    return game.critical_points(view), game.best_on_square(view)


def _dataset(settings: Settings) -> np.ndarray:
    """[item, 2]."""
    stream = np.random.default_rng([settings.seed, 0])
    shape = (settings.points, 2)
    noise = stream.uniform(-1, 1, shape) if settings.distribution == "uniform" else stream.standard_normal(shape)
    noise = settings.spread * noise
    if settings.recentred:
        noise -= noise.mean(axis=0)
    return np.array([settings.centre_x, settings.centre_y]) + noise


def _learn(game: PolynomialGame, settings: Settings, pjap: dict | None, grid: np.ndarray) -> Arm:
    """Learns with the sampler uniform, or PJAP with these options; both arms draw the same random numbers."""
    start = np.array([settings.start_x, settings.start_y])
    sampler = {"name": "uniform"} if pjap is None else {"name": "pjap"} | pjap
    shared = {"learning_rate": settings.learning_rate, "sampler": sampler}
    sampling = np.random.default_rng([settings.seed, 1])
    if settings.source == "buffer":
        learnt = learn_online(
            game,
            start,
            runs=1,
            steps=settings.steps,
            batch=settings.batch,
            buffer_size=settings.buffer_size,
            exploration_sigma=settings.exploration_sigma,
            exploration=np.random.default_rng([settings.seed, 2]),
            rounds=settings.rounds,
            refresh=settings.refresh,
            sampling=sampling,
            **shared,
        )
        data, policies = learnt.buffer_after(0, settings.steps), learnt.policies[0]
    elif settings.batch is not None:
        data = _dataset(settings)
        learnt = learn_offline(
            game,
            data[None],
            start,
            epochs=settings.steps,
            batch=settings.batch,
            rounds=settings.rounds,
            refresh=settings.refresh,
            sampling=sampling,
            **shared,
        )
        policies = learnt.policies[0]
    else:
        data = _dataset(settings)
        learnt, policies = None, learn_full_batch(game, data, start, steps=settings.steps, **shared)
    finite = np.isfinite(policies).all(axis=-1)
    diverged = not finite.all()
    policies = policies[: int(finite.argmin())] if diverged else policies
    at = np.arange(min(settings.steps, len(policies)))
    if learnt is None:
        at = at[:: -(-len(at) // CURVE_POINTS)]
        distances = _mean_distances(data, policies[at], pjap)
    else:
        distances = learnt.distances[0, at]
    weights = None if pjap is None else priorities(data, grid, **pjap)
    return Arm(policies, distances, at, data, game.brud_gradient(grid, data, weights), diverged)


def _mean_distances(data: np.ndarray, policies: np.ndarray, pjap: dict | None) -> np.ndarray:
    """[step]: half the L1 distance of all data to each of the policies [step, 2], weighted by PJAP's priorities there."""
    distances = l1(data, policies) / 2
    weights = None if pjap is None else priorities(data, policies, **pjap)
    return np.average(distances, axis=-1, weights=weights)
