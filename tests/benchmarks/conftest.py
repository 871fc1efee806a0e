"""The paper's configuration with a small update."""

import pytest

from pjap_bench import config


@pytest.fixture
def tiny_settings() -> dict:
    settings = config.load("paper")
    settings["training"] |= {"batch": 3, "sequence": 4, "ood_actions": 2, "policy_width": 5, "uniform_sequences": 4}
    settings["training"]["evaluation"] |= {"episodes": 1}
    for preset in settings["presets"].values():
        preset |= {"critic_width": 7, "refresh_sequences": 8}
    return settings
