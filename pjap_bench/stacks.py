"""What may train side by side: runs whose settings differ in nothing but their sampler's.

A module of its own, so that the digest of the training code does not follow the configuration's.
"""

SAMPLER_SETTINGS = frozenset(
    {
        *("sampler", "priority_exponent"),
        *("steepness", "epsilon", "on_ramp", "refresh", "refresh_sequences"),  # pjap
        *("td_exponent", "td_floor", "td_ceiling"),
    }
)


def shared(settings: dict) -> dict:
    """Those of an arm's settings that all arms of its stack must have."""
    return {key: value for key, value in settings.items() if key not in SAMPLER_SETTINGS}
