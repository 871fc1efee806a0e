"""Training behaviour policies: windows that respect ends, terminals that end the bootstrap, the same learning as ever."""

import re
import shlex
from typing import ClassVar

import numpy as np
import pytest
import torch
import yaml

from pjap_bench import config
from pjap_bench.behaviour import matd3
from pjap_bench.behaviour import policy as policies
from pjap_bench.datasets import cards, collection, hdf5, listing
from pjap_bench.environments import ENVIRONMENTS, MujocoTask, TwoAgentHalfCheetah
from pjap_bench.errors import BenchError
from tests.workflow.test_workflow import copy_tree, planned

PAPER = config.load("paper")["behaviour"] | {"noise": 0.2}  # the latter is the card's
TINY = PAPER | {
    "environments": 3,
    "random_steps": 40,
    "max_updates": 400,
    "snapshot_early": 20,
    "early_steps": 100,
    "actor_width": 8,
    "critic_width": 8,
    "batch": 8,
    "capacity": 300,
    "screening_every": 1,
    "screening_episodes": 1,
    "evaluation_episodes": 2,
    "candidates": 2,
}


@pytest.fixture(autouse=True)
def one_thread():
    """As in training: on a busy machine two threads of such small products take ten times as long."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def quiet(line: str) -> None:
    """A log that nobody reads."""


class Bell(MujocoTask):
    """A reward of 1 at every step; `ends` says after how many steps an episode has its terminal."""

    name = "bell"
    agents = 2
    observation_size = 3
    action_size = 1
    state_size = 2
    physics_size = 2
    horizon = 10
    ends: ClassVar[int] = 1

    def __init__(self, episodes: int):
        self._data = np.zeros((episodes, 2))  # steps since the start, and 1

    def reset(self, seeds, which=None):
        self._data[slice(None) if which is None else which] = (0.0, 1.0)
        return self._data.copy()

    def step(self, actions, running=None):
        running = np.ones(len(self._data), dtype=bool) if running is None else running
        assert np.all(self._data[running, 0] < min(self.ends, self.horizon)), "stepped on after the end"
        self._data[running, 0] += 1
        return self._data.copy(), running * 1.0, running & (self._data[:, 0] >= self.ends)

    @staticmethod
    def observations(physics):
        return np.concatenate([physics, physics[..., :1]], axis=-1)[..., None, :].repeat(2, axis=-2)

    @staticmethod
    def state(physics):
        return physics

    @staticmethod
    def upright(physics):
        return physics[..., 1] > 0

    @staticmethod
    def fallen(physics):
        return physics[..., 1] < 0


def test_windows_respect_every_kind_of_end():
    """Every drawn window against a walk along its environment's time line; the reward of a step is its number."""
    n, discount, capacity, steps = 3, 0.9, 60, 97
    lengths = [[7, 1, 2, 34, 1, 1, 36, 15], [20, 30, 47]]
    limits = {(0, 3), (0, 7), (1, 0), (1, 2)}  # cut by the time limit, or still running; the others end by a terminal
    episode = np.stack([np.repeat(np.arange(len(row)), row) for row in lengths], axis=1)  # [steps, environments]
    last = np.vstack([episode[1:] != episode[:-1], [[True, True]]])
    cut = np.array([[(column, episode[step, column]) in limits for column in range(2)] for step in range(steps)])
    terminal = last & ~cut
    replay = matd3._Replay(capacity, Bell(2), n, discount)
    begins = np.ones(2, dtype=bool)
    for step in range(steps):
        here = np.array([[step, 0], [step, 1]])
        replay.add(begins, here, np.full((2, 2), step), np.full(2, step), here + np.array([1, 0]), terminal[step])
        begins = last[step]
    window = replay.draw(20_000, np.random.default_rng(0))
    seen = set()
    for first, column, gain, continues, after in zip(
        *window.before.astype(int).T, window.gains, window.continues, window.after[:, 0], strict=True
    ):
        assert steps - capacity <= first < steps
        expected = 0.0
        for ahead in range(n):
            assert episode[first + ahead, column] == episode[first, column]
            expected += discount**ahead * (first + ahead)
            if terminal[first + ahead, column]:
                break
        assert gain == pytest.approx(expected, rel=1e-5)
        assert continues == (not terminal[first + ahead, column])
        assert not continues or after == first + n
        seen.add((first, column))
    assert np.array_equal(window.actions[:, 0], window.before[:, 0])
    ends = [(step, column) for step, column in zip(*np.nonzero(terminal), strict=True) if steps - capacity <= step]
    assert len(ends) == 4
    assert seen.issuperset(ends), "a terminal step is learnt from as well"


def learnt_values(monkeypatch, ends: int, discount: float) -> np.ndarray:
    """What the critic says of the first states of an episode, after a short training."""
    made = []

    class Kept(matd3._TwinCritics):
        def __init__(self, *sizes):
            super().__init__(*sizes)
            made.append(self)

    monkeypatch.setattr(matd3, "_TwinCritics", Kept)
    monkeypatch.setattr(Bell, "ends", ends)
    settings = TINY | {"discount": discount, "reward_scale": 1.0, "learning_rate": 3e-3, "tau": 0.05, "batch": 64}
    settings |= {"max_updates": 2000, "critic_width": 32, "capacity": 3000, "back_penalty": 0.5}
    matd3._learn(Bell, 1e9, settings, 0, quiet)
    states = torch.tensor([[float(step), 1.0] for step in range(min(ends, 3))])
    with torch.no_grad():
        return made[0](states, torch.zeros(len(states), 2)).mean(0).numpy()


def test_a_terminal_ends_the_bootstrap(monkeypatch):
    assert learnt_values(monkeypatch, ends=1, discount=0.9) == pytest.approx([1.0], abs=0.15)
    assert learnt_values(monkeypatch, ends=3, discount=0.9) == pytest.approx([2.71, 1.9, 1.0], abs=0.3)


def test_the_time_limit_does_not(monkeypatch):
    assert np.all(learnt_values(monkeypatch, ends=99, discount=0.8) == pytest.approx([5.0] * 3, abs=0.5))


def test_a_step_on_the_back_is_charged_for(monkeypatch):
    monkeypatch.setattr(Bell, "fallen", staticmethod(lambda physics: physics[..., 1] > 0))
    assert learnt_values(monkeypatch, ends=1, discount=0.9) == pytest.approx([0.5], abs=0.15)


def test_the_cheetah_is_learnt_as_when_the_pinned_policies_were_trained(monkeypatch):
    """Sums of the actors' absolute weights and biases, recorded then; the ring is written over more than twice."""
    monkeypatch.setattr(TwoAgentHalfCheetah, "horizon", 20)
    snapshots = {snapshot.updates: snapshot for snapshot in matd3._learn(TwoAgentHalfCheetah, 1e9, TINY, 3, quiet)}
    recorded = {
        40: [30.102856718818657, 21.986368611222133, 8.908217078074813, 0.1288627742324, 0.1252228545490, 0.01071176235564],
        120: [30.427965670474805, 22.179201949154958, 9.263978660106659, 0.3872213801369, 0.4802447303663, 0.15422887913882],
        400: [31.903113573091105, 23.682755929417908, 10.695289600640535, 1.0273296283558, 1.1512146852910, 0.38890395034104],
    }
    for updates, expected in recorded.items():
        found = [np.abs(array.astype(np.float64)).sum() for array in snapshots[updates].weights + snapshots[updates].biases]
        assert found == pytest.approx(expected, rel=1e-3, abs=1e-3), updates
    assert snapshots[40].mean_return == pytest.approx(-1.4799752095714211, abs=1e-2)


@pytest.mark.parametrize("task", ENVIRONMENTS.values(), ids=list(ENVIRONMENTS))
def test_every_environment_can_be_trained_in(task, monkeypatch):
    monkeypatch.setattr(task, "horizon", 20)
    snapshots = matd3._learn(task, 1e9, TINY, 0, quiet)
    assert [snapshot.updates for snapshot in snapshots][:2] == [40, 80]
    assert snapshots[-1].updates == TINY["max_updates"]
    for snapshot in snapshots:
        assert snapshot.weights[0].shape == (task.agents, task.observation_size, 8)
        assert all(np.isfinite(array).all() for array in snapshot.weights + snapshot.biases)
        assert 0.0 < snapshot.upright <= 1.0
    assert not np.array_equal(snapshots[0].weights[0], snapshots[-1].weights[0])


def test_untrained_actors_are_no_candidates(monkeypatch):
    monkeypatch.setattr(TwoAgentHalfCheetah, "horizon", 20)
    snapshots = matd3._learn(TwoAgentHalfCheetah, 1e9, TINY | {"random_steps": 80, "snapshot_early": 5}, 0, quiet)
    assert min(snapshot.updates for snapshot in snapshots) > 0
    chosen = matd3.train(TwoAgentHalfCheetah, snapshots[0].mean_return, TINY, 0, quiet)
    assert chosen.updates > 0


def test_on_the_way_up_only_some_snapshots_play(monkeypatch):
    monkeypatch.setattr(TwoAgentHalfCheetah, "horizon", 20)
    settings = TINY | {"screening_every": 3, "early_steps": 200}
    snapshots = matd3._learn(TwoAgentHalfCheetah, 1e9, settings, 0, quiet)
    early = 7  # at steps 60 to 180; from 200 on every one plays
    assert [snapshot.mean_return is not None for snapshot in snapshots[: early + 2]] == [0, 0, 1, 0, 0, 1, 0, 1, 1]


@pytest.fixture
def climb(monkeypatch):
    """Made-up snapshots that gain 100 from one to the next, of which every eighth has played.

    Gives the list of who plays how often, the set of unsteady ones, and that of those who fall, with how often they play then.
    """
    plays, unsteady, falls = [], set(), set()

    def play(environment_class, snapshot, settings, episodes, seed):
        plays.append((snapshot.updates, episodes))
        sd = 999.0 if snapshot.updates in unsteady else 9.0
        upright = settings["upright_share"] - 0.01 if plays[-1] in falls else 1.0
        return snapshot._replace(mean_return=100.0 * snapshot.updates, sd_return=sd, upright=upright)

    def learn(environment_class, level, settings, seed, log):
        made = [matd3.Snapshot(updates, [], []) for updates in range(1, 33)]
        made[7::8] = [play(None, each, settings, 8, 0) for each in made[7::8]]
        plays.clear()
        return made

    monkeypatch.setattr(matd3, "_play", play)
    monkeypatch.setattr(matd3, "_learn", learn)
    return plays, unsteady, falls


def test_the_snapshots_near_the_level_play_and_the_nearest_fit_one_is_it(climb):
    plays, unsteady, _ = climb
    chosen = matd3.train(TwoAgentHalfCheetah, 1010, PAPER, 0, quiet)
    assert chosen.updates == 10
    assert plays == [*((each, 8) for each in range(1, 24) if each not in (8, 16)), (10, 64)]
    unsteady.update((10, 11))
    assert matd3.train(TwoAgentHalfCheetah, 1010, PAPER, 0, quiet).updates == 9
    assert plays[-3:] == [(10, 64), (11, 64), (9, 64)]


def test_who_falls_in_a_few_episodes_does_not_play_in_full(climb):
    plays, _, falls = climb
    falls.add((10, 8))
    assert matd3.train(TwoAgentHalfCheetah, 1010, PAPER, 0, quiet).updates == 11
    assert [each for each in plays if each[1] == 64] == [(11, 64)]


def test_who_falls_when_playing_in_full_is_not_it(climb):
    plays, _, falls = climb
    falls.add((10, 64))
    assert matd3.train(TwoAgentHalfCheetah, 1010, PAPER, 0, quiet).updates == 11
    assert plays[-2:] == [(10, 64), (11, 64)]


def test_what_cannot_be_near_enough_does_not_play_in_full(climb):
    plays, *_ = climb
    with pytest.raises(matd3.StuckSeed):
        matd3.train(TwoAgentHalfCheetah, 9000, PAPER, 0, quiet)
    assert plays and {episodes for _, episodes in plays} == {8}


@pytest.mark.parametrize(
    ("returns", "ended"),
    [
        ([100, 500, 600, 700], False),  # 1.4 times that of half the updates, so 980 after twice as many
        ([100, 500, 500, 600], True),  # 1.2 times: 720
        ([100, 500, 600, 660], False),  # 1.32 times: 871, near enough to 1000
        ([100, 500, 600, 660, 700, 790, 810], False),  # 959: near enough, but not yet
        ([100, 500, 600, 660, 700, 790, 860], True),  # 995 at most, and near enough already
        ([100, 500, 1060], True),  # the level and 50 more
        ([100, 500, 600, 700, 300], False),  # fallen back: the best counts
        ([100, 500, 500, 500, 500], True),  # it grows no more
        ([100, 110], False),  # too early to tell
        ([-300, -200, 100, 300], False),  # 300 times that of half the updates, which counts as 1
        ([-300, -200, -100, -50], True),  # no growth from 1 on
    ],
)
def test_training_ends_at_the_level_or_when_its_pace_is_too_slow_for_it(returns, ended):
    settings = PAPER | {"patience": 300, "max_updates": 800, "overshoot": 50.0, "tolerance": 0.2}
    played = [matd3.Snapshot(100 * (index + 1), [], [], float(each)) for index, each in enumerate(returns)]
    assert matd3._ended(played, 1000, settings) == ended


def test_a_level_that_is_passed_ends_the_training(monkeypatch):
    monkeypatch.setattr(TwoAgentHalfCheetah, "horizon", 20)
    assert matd3._learn(TwoAgentHalfCheetah, -1e9, TINY, 0, quiet)[-1].updates == 40
    assert matd3._learn(TwoAgentHalfCheetah, 1e9, TINY | {"patience": 100}, 0, quiet)[-1].updates == 120


def test_a_seed_far_from_the_level_is_stuck(monkeypatch):
    monkeypatch.setattr(TwoAgentHalfCheetah, "horizon", 20)
    with pytest.raises(matd3.StuckSeed, match="seed 0 is stuck: no upright, steady policy near a return of 5000"):
        matd3.train(TwoAgentHalfCheetah, 5000, TINY, 0, quiet)


def test_a_stuck_seed_is_replaced_and_the_file_says_by_which(tmp_path, monkeypatch, capsys):
    seeds = []

    def train(environment_class, level, settings, seed, log):
        seeds.append(seed)
        if len(seeds) < 3:
            raise matd3.StuckSeed("stuck")
        return matd3._learn(environment_class, 1e9, TINY | {"max_updates": 40}, seed, log)[-1]

    monkeypatch.setattr(TwoAgentHalfCheetah, "horizon", 20)
    monkeypatch.setattr(matd3, "train", train)
    matd3.retrain("medium", "medium_1", PAPER, tmp_path / "medium_1.safetensors")
    assert seeds == [5, 105, 205]
    assert "\n    seed: 205\n" in capsys.readouterr().err, "in the finished entry"
    found = policies.load(tmp_path / "medium_1.safetensors", sha256=None, agents=2, observation=13, action=3, masked=(10,))
    assert found.metadata["seed"] == "205"
    assert found.metadata["level"] == "1250"
    with pytest.raises(BenchError, match="no behaviour policy 'medium_9'"):
        matd3.retrain("medium", "medium_9", PAPER, tmp_path / "x.safetensors")


@pytest.fixture
def unfinished(tmp_path, monkeypatch):
    """The card `mine` of a dataset whose one policy is still to be trained, and a mixture of it."""
    card = cards.load("good")
    aim = {"name": "mine_0", "file": str(tmp_path / "policies" / "mine_0.safetensors"), "level": 250, "seed": 4}
    mixture = cards.load("good_medium") | {"id": "mixed", "parts": ["mine"]}
    monkeypatch.setattr(cards, "FOLDER", tmp_path)
    for made in (card | {"id": "mine", "policies": [aim]}, mixture):
        (tmp_path / f"{made['id']}.yaml").write_text(yaml.safe_dump(made))
    monkeypatch.setattr(TwoAgentHalfCheetah, "horizon", 20)
    return tmp_path


def test_the_end_of_the_log_finishes_the_card(unfinished, monkeypatch, capsys):
    with pytest.raises(BenchError, match=r"policy 'mine_0' is not finished.*train it, copy its file and complete its entry"):
        collection.collect("mine", 1, unfinished / "mine.h5", {})
    for name in ("mine", "mixed"):
        with pytest.raises(BenchError, match="policy 'mine_0' is not finished"):
            cards.reference_returns(cards.load(name))
        assert "not known before these policies are trained: mine_0" in listing.words(cards.load(name))
    assert [row.split()[-2] for row in listing.table().splitlines()[1:3]] == ["-", "-"]

    def train(environment_class, level, settings, seed, log):
        assert (level, seed) == (250, 4)
        return matd3._learn(environment_class, 1e9, TINY | {"max_updates": 40}, seed, log)[-1]

    monkeypatch.setattr(matd3, "train", train)
    matd3.retrain("mine", "mine_0", PAPER, unfinished / "trained.safetensors")
    said = capsys.readouterr().err
    card = cards.load("mine")
    assert f"copy {unfinished / 'trained.safetensors'} to {card['policies'][0]['file']}" in said
    card["policies"] = yaml.safe_load(said[said.index("  - name: mine_0") :])
    (unfinished / "mine.yaml").write_text(yaml.safe_dump(card))
    (unfinished / "policies").mkdir()
    (unfinished / "trained.safetensors").rename(card["policies"][0]["file"])
    collection.collect("mine", 2, unfinished / "mine.h5", {})
    stated = cards.load("mine")["policies"][0]
    assert hdf5.read(unfinished / "mine.h5").attributes["policy_sha256"] == [stated["sha256"]]
    metadata = collection._load_policy(card, 0).metadata
    for key, digits in {"level": 0, "seed": 0, "updates": 0, "mean_return": 1, "sd_return": 1, "upright": 3}.items():
        assert stated[key] == round(float(metadata[key]), digits), key
    assert cards.reference_returns(cards.load("mixed"))["dataset_return"] == stated["mean_return"]


def test_a_generated_dataset_is_added_as_documented(tmp_path):
    section = (config.ROOT / "docs" / "datasets.md").read_text(encoding="utf-8").split("## Add a generated dataset\n")[1]
    aims, train = re.findall(r"```(?:yaml|bash)\n(.*?)```", section.split("\n## ")[0], re.DOTALL)
    copy = copy_tree(tmp_path / "copy")
    card = cards.load("poor") | {"id": "mine"} | yaml.safe_load(aims)
    (copy / "datasets" / "mine.yaml").write_text(yaml.safe_dump(card))
    assert planned(copy, *shlex.split(train)[1:]) == {"train_behaviour": 1}
