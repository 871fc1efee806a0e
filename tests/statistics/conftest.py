import copy
import shutil

import pytest

from pjap_bench.statistics.summary import summarise
from tests.statistics import fabricate


@pytest.fixture(scope="session")
def made_up(tmp_path_factory):
    return fabricate.fabricate(tmp_path_factory.mktemp("made_up") / "quick")


@pytest.fixture(scope="session")
def made_up_summarised(made_up, tmp_path_factory):
    results = tmp_path_factory.mktemp("summarised") / "quick"
    shutil.copytree(made_up, results)
    summarise(results, fabricate.SETTINGS, fabricate.STAMP)
    return results


@pytest.fixture
def results(made_up, tmp_path):
    """A made-up results folder of finished runs, the test's own copy."""
    return shutil.copytree(made_up, tmp_path / "quick")


@pytest.fixture
def summarised(made_up_summarised, tmp_path):
    """The same with its statistics."""
    return shutil.copytree(made_up_summarised, tmp_path / "summarised")


@pytest.fixture
def settings():
    return copy.deepcopy(fabricate.SETTINGS)
