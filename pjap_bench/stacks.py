"""What may train side by side: runs whose settings differ in nothing but their sampler's; and how often they are looked at.

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


def uneven(settings: dict, checkpoint_every: int) -> str:
    """What is wrong with a run's intervals: evaluations and checkpoints come when it is logged, at multiples of `log_every`."""
    for name, updates in (("evaluation.every", settings["evaluation"]["every"]), ("checkpoint_every", checkpoint_every)):
        if updates % settings["log_every"]:
            return f"{name} {updates} is not a multiple of log_every {settings['log_every']}"
    return ""
