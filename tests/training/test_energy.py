"""The processor's energy, from counters as the kernel shows them."""

import pytest

from pjap_bench.training.energy import Meter

AROUND = 1000 * 10**6  # a counter begins anew after 1000 J


@pytest.fixture
def powercap(tmp_path):
    """Two packages, of which the first has a part of its own."""
    for name, joules in (("intel-rapl:0", 990), ("intel-rapl:0:0", 5), ("intel-rapl:1", 10), ("intel-rapl", 0)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "max_energy_range_uj").write_text(f"{AROUND}\n")
        count(tmp_path / name, joules)
    return tmp_path


def count(package, joules):
    (package / "energy_uj").write_text(f"{int(joules * 1e6)}\n")


def test_packages_are_added_parts_are_not_and_a_counter_may_begin_anew(powercap):
    meter = Meter(powercap)
    assert meter.since_last() == 0.0
    count(powercap / "intel-rapl:0", 5.5)  # 15.5 J later
    count(powercap / "intel-rapl:0:0", 500)
    count(powercap / "intel-rapl:1", 12)
    assert meter.since_last() == pytest.approx(17.5)
    assert meter.since_last() == 0.0


def test_a_machine_without_counters_measures_nothing(tmp_path):
    assert Meter(tmp_path).since_last() is None
    assert Meter(tmp_path / "missing").since_last() is None


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_text("no number")])
def test_a_counter_that_cannot_be_read_measures_nothing(powercap, damage):
    meter = Meter(powercap)
    damage(powercap / "intel-rapl:1" / "energy_uj")
    assert meter.since_last() is None
    count(powercap / "intel-rapl:1", 20)
    assert meter.since_last() is None  # what came in between is not known
    assert meter.since_last() == 0.0
