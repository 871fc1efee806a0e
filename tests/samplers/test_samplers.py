"""Contract of every registered sampler, and what makes PJAP PJAP."""

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as strategy
from scipy import stats

from pjap_bench import samplers
from pjap_bench.errors import BenchError

STARTS = 3000  # not a multiple of the block
CPU = torch.device("cpu")


def make(name, settings, runs=1, device=CPU, **changes):
    return samplers.make(name, runs, STARTS, settings | changes, device)


def draw_from(*seeds, device=CPU):
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    return lambda size: torch.stack([torch.rand(size, dtype=torch.float64, generator=each) for each in generators]).to(device)


def refresh_all(sampler, distances, update=1):
    sampler.refresh(torch.arange(STARTS)[None], torch.as_tensor(distances, dtype=torch.float64)[None], torch.tensor(update))


def priorities(sampler):
    return sampler.state()["priorities"][0, :STARTS]


def drawn_often(sampler, size, times, seed):
    draw = draw_from(seed)
    return torch.cat([sampler.sample(size, draw)[0] for _ in range(times)]).numpy()


@pytest.mark.parametrize("name", samplers.SAMPLERS)
def test_contract(name, settings, device):
    sampler, draw = make(name, settings, 2, device), draw_from(0, 1, device=device)
    assert sampler.measure in (None, "distance", "td_error")
    assert all(value.shape[0] == 2 for value in sampler.state().values())
    for update in range(1, 20):
        sampled = sampler.sample(16, draw)
        assert sampled.shape == (2, 16)
        assert sampled.dtype == torch.int64
        assert (sampled >= 0).all() and (sampled < STARTS).all()
        wanted = sampler.to_refresh(sampled, draw)
        assert (wanted is None) == (sampler.measure is None)
        if wanted is not None:
            sampler.refresh(wanted, draw(wanted.shape[1]), torch.tensor(update))
        size = sampler.effective_sample_size()
        assert size.shape == (2,)
        assert ((size > 0) & (size <= 1 + 1e-12)).all()


@pytest.mark.parametrize("name", samplers.SAMPLERS)
def test_runs_side_by_side_are_runs_alone(name, settings, device):
    together, alone = make(name, settings, 2, device), [make(name, settings, device=device) for _ in range(2)]
    draw, draws = draw_from(3, 4, device=device), [draw_from(seed, device=device) for seed in (3, 4)]
    for update in range(1, 30):
        sampled = together.sample(8, draw)
        single = [sampler.sample(8, own) for sampler, own in zip(alone, draws, strict=True)]
        assert torch.equal(sampled, torch.cat(single))
        measures = torch.rand(2, 8, generator=torch.Generator().manual_seed(update)).to(device)
        together.refresh(sampled, measures, torch.tensor(update))
        for run, sampler in enumerate(alone):
            sampler.refresh(single[run], measures[run : run + 1], torch.tensor(update))


@pytest.mark.parametrize("name", samplers.SAMPLERS)
def test_state_restores_the_future(name, settings, device):
    first, second = (make(name, settings, device=device) for _ in range(2))
    random = torch.Generator().manual_seed(1)
    indices = torch.randperm(STARTS, generator=random)[:500]
    first.refresh(indices[None].to(device), torch.rand(1, 500, generator=random).to(device), torch.tensor(10))
    for key, value in second.state().items():
        value.copy_(first.state()[key])
    assert torch.equal(*(sampler.sample(64, draw_from(2, device=device)) for sampler in (first, second)))


@pytest.mark.parametrize("name", samplers.SAMPLERS)
def test_uniform_before_any_refresh(name, settings):
    counts = np.bincount(drawn_often(make(name, settings), 30, 2000, 3), minlength=STARTS)
    assert stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize("name", [name for name in samplers.SAMPLERS if name != "uniform"])
def test_numbers_that_are_not_finite_change_nothing_of_their_run(name, settings, device):
    sampler = make(name, settings, 2, device)
    before = {key: value.clone() for key, value in sampler.state().items()}
    measures = torch.tensor([[0.5, float("nan"), 0.1], [0.5, 0.2, 0.1]], device=device)
    sampler.refresh(torch.tensor([[1, 2, 3]] * 2, device=device), measures, torch.tensor(1))
    for key, value in sampler.state().items():
        assert torch.equal(value[0], before[key][0])
        assert not torch.equal(value[1], before[key][1])


def test_frequencies_follow_the_stored_priorities(settings):
    sampler = make("pjap", settings, steepness=3.0)
    refresh_all(sampler, np.random.default_rng(4).uniform(0, 0.6, STARTS))
    counts = np.bincount(drawn_often(sampler, 50, 4000, 4), minlength=STARTS)
    expected = priorities(sampler).double().numpy()
    assert stats.chisquare(counts, expected / expected.sum() * counts.sum()).pvalue > 1e-3


@example(starts=1025, seed=0, zeros=1.0, size=1)  # nothing in the last block
@given(
    starts=strategy.integers(1, 5000),
    seed=strategy.integers(0, 2**32 - 1),
    zeros=strategy.floats(0, 1),
    size=strategy.integers(1, 70),
)
@hypothesis_settings(deadline=None)  # a GPU loads its programs in the first example
def test_a_draw_always_has_a_positive_priority(device, starts, seed, zeros, size):
    """Whatever the priorities, even if nearly all underflow to zero."""
    random = np.random.default_rng(seed)
    kept = random.integers(starts)
    values = np.where(random.random(starts) < zeros, 0.0, 10.0 ** random.uniform(-30, 4, starts))
    values[kept] = 1.0
    table = samplers.priorities.Priorities(1, starts, device)
    table.set(torch.arange(starts, device=device)[None], torch.as_tensor(values).to(device)[None])
    # 1 is what a share and its number just below 1 round to
    edge = torch.tensor([[0.0, 1.0]], dtype=torch.float64, device=device)
    ends = table.state()["block_sums"].cumsum(dim=1)
    borders = (ends / ends[:, -1:])[:, :-1].split(1, dim=1)  # where one block ends and the next begins, to rounding
    for uniforms in (torch.as_tensor(random.random((1, size))).to(device), *edge.split(1, dim=1), *borders):
        drawn = table.sample(uniforms)
        assert ((drawn >= 0) & (drawn < starts)).all()
        assert (table.values.gather(1, drawn) > 0).all()


def test_priority_is_equation_6(settings):
    sampler = make("pjap", settings, steepness=4.0, epsilon=1e-3, on_ramp=0)
    distances = np.array([0.0, 0.1, 0.5, 3.0])
    sampler.refresh(torch.arange(4)[None], torch.as_tensor(distances)[None], torch.tensor(1))
    expected = np.maximum(np.exp(-16.0 * distances**2), 1e-3) ** 0.99
    assert priorities(sampler)[:4].numpy() == pytest.approx(expected, rel=1e-6)
    assert (priorities(sampler)[4:] == 1.0).all()


def test_td_priority_is_clipped_and_raised(settings):
    sampler = make("td_error", settings, td_floor=1e-3, td_ceiling=1e4, td_exponent=0.6)
    errors = torch.tensor([[0.0, 0.5, 1e9]])
    sampler.refresh(torch.arange(3)[None], errors, torch.tensor(1))
    assert priorities(sampler)[:3].numpy() == pytest.approx([1e-3**0.6, 0.5**0.6, 1e4**0.6], rel=1e-6)


def test_on_ramp_steepens_linearly(settings):
    sampler = make("pjap", settings, steepness=4.0, epsilon=1e-9, on_ramp=100)
    for update, share in ((25, 0.25), (100, 1.0), (1000, 1.0)):
        sampler.refresh(torch.tensor([[7]]), torch.tensor([[0.3]]), torch.tensor(update))
        assert priorities(sampler)[7].item() == pytest.approx(np.exp(-((4 * share * 0.3) ** 2)) ** 0.99, rel=1e-5)


def test_zero_steepness_is_uniform(settings):
    sampler = make("pjap", settings, steepness=0.0)
    refresh_all(sampler, np.linspace(0, 1, STARTS))
    assert (priorities(sampler) == 1.0).all()
    assert sampler.effective_sample_size().item() == pytest.approx(1.0)


def test_what_has_no_weight_is_never_drawn(settings):
    sampler = make("pjap", settings, steepness=50.0, epsilon=1e-300)
    near = np.array([0, 1023, 1024, STARTS - 1])  # edges of blocks
    distances = np.full(STARTS, 2.0)
    distances[near] = 0.0
    refresh_all(sampler, distances)
    assert set(drawn_often(sampler, 64, 200, 5)) == set(near)
    assert sampler.effective_sample_size().item() == pytest.approx(len(near) / STARTS)


@pytest.mark.parametrize("epsilon", [1e-6, 1e-30])  # the second is the least that a configuration may say
def test_all_priorities_at_epsilon_is_uniform_again(settings, epsilon):
    sampler = make("pjap", settings, steepness=50.0, epsilon=epsilon)
    refresh_all(sampler, np.full(STARTS, 2.0))
    assert (priorities(sampler) > 0).all()
    assert sampler.effective_sample_size().item() == pytest.approx(1.0)
    counts = np.bincount(drawn_often(sampler, 30, 2000, 3), minlength=STARTS)
    assert stats.chisquare(counts).pvalue > 1e-3


def test_stratified_draws_cover_every_stratum(settings):
    drawn = make("pjap", settings).sample(30, draw_from(6))[0].sort().values
    assert torch.equal(drawn // (STARTS // 30), torch.arange(30))


@pytest.mark.parametrize(("rule", "size"), [("sampled", 8), ("proportional", 1024), ("uniform", 1024)])
def test_refresh_rules(settings, rule, size):
    sampler, draw = make("pjap", settings, refresh=rule, refresh_sequences=1024, steepness=50.0, epsilon=1e-6), draw_from(7)
    half = torch.arange(STARTS // 2)[None]
    sampler.refresh(half, torch.full(half.shape, 2.0), torch.tensor(1))  # the first half is far away
    sampled = torch.arange(8)[None]
    wanted = sampler.to_refresh(sampled, draw)
    assert wanted.shape == (1, size)
    late = (wanted >= STARTS // 2).double().mean()
    if rule == "sampled":
        assert wanted is sampled
    elif rule == "proportional":
        assert late > 0.99
    else:
        assert 0.4 < late < 0.6


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0]])
def test_a_sequence_that_is_there_twice_takes_its_smaller_priority(settings, order, device):
    sampler = make("pjap", settings, device=device, steepness=1.0, epsilon=1e-9)
    indices, distances = torch.tensor([[5, 9, 5]])[:, order].to(device), torch.tensor([[1.0, 0.5, 0.25]])[:, order].to(device)
    sampler.refresh(indices, distances, torch.tensor(1))
    assert priorities(sampler)[[5, 9]].cpu().numpy() == pytest.approx(np.exp([-1.0, -0.25]) ** 0.99, rel=1e-6)


def test_block_sums_do_not_drift(settings):
    sampler, draw = make("pjap", settings), draw_from(8)
    for update in range(1, 2000):
        indices = sampler.sample(32, draw)
        sampler.refresh(indices, draw(32), torch.tensor(update))
    state = sampler.state()
    assert torch.equal(
        state["block_sums"], state["priorities"].view(*state["block_sums"].shape, -1).sum(dim=2, dtype=torch.float64)
    )


def test_unknown_sampler(settings):
    with pytest.raises(BenchError, match=r"unknown sampler 'best'.*pjap"):
        make("best", settings)


def test_the_same_priorities_give_the_same_draws(device):
    """Bit for bit, whenever it is asked: sums in another order would choose another sequence now and then."""
    random, starts = torch.Generator().manual_seed(9), 1_000_000
    indices = torch.randint(starts, (3, 10_000), generator=random).to(device)
    values = torch.rand(3, 10_000, generator=random).to(device)
    uniforms = torch.rand(3, 4096, generator=random, dtype=torch.float64).to(device)
    tables = [samplers.priorities.Priorities(3, starts, device) for _ in range(2)]
    for table in tables:
        table.set(indices, values)
    first, *others = [table.sample(uniforms) for _ in range(10) for table in tables]
    assert all(torch.equal(first, other) for other in others)
    for key, value in tables[0].state().items():
        assert torch.equal(value, tables[1].state()[key])
    assert torch.equal(*(table.effective_sample_size() for table in tables))
