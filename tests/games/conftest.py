"""The games simulated once, with the settings of the paper's configuration."""

from pathlib import Path

import pytest
import yaml

from pjap_bench.games.experiments import simulate

CONFIGURATION = Path(__file__).parents[2] / "workflow" / "config" / "paper.yaml"
STAMP = {"pjap_bench": "0.1.0", "scale": "smoke", "code": "0123456789ab", "image": "uncontained", "seeds": [], "datasets": {}}


@pytest.fixture(scope="session")
def game_settings():
    return yaml.safe_load(CONFIGURATION.read_text(encoding="utf-8"))["games"]


@pytest.fixture(scope="session")
def simulated(game_settings, tmp_path_factory):
    """The results folder with games/ in it, and the stamp."""
    results = tmp_path_factory.mktemp("results")
    simulate(game_settings, STAMP, results / "games")
    return results, STAMP
