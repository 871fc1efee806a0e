"""What the updates of all algorithms are made of. Parameters are stacked as [run, parameters]."""

from typing import NamedTuple

from torch import Tensor

from pjap_bench import kernels

State = dict[str, Tensor]  # every tensor of a training state, [R, ...]


class Updated(NamedTuple):
    """What an update gives."""

    state: State
    metrics: dict[str, Tensor]  # losses and other scalars, [R] each
    measures: dict[str, Tensor]  # of every sequence of the batch, [R, B] each, by the parameters before the update


def rmsprop(parameters: Tensor, gradient: Tensor, mean_square: Tensor, rate: float, settings: dict) -> tuple[Tensor, Tensor]:
    """One RMSProp step as Sonnet and TensorFlow define it: epsilon inside the root (torch's adds it outside).

    Returns:
        the new parameters and the new running mean of squared gradients, [R, parameters] each.
    """
    decay, epsilon = settings["rmsprop_decay"], settings["rmsprop_epsilon"]
    if kernels.fit(parameters):
        from pjap_bench.kernels import rmsprop

        return rmsprop.step(parameters, gradient, mean_square, rate, decay, epsilon)
    mean_square = mean_square.lerp(gradient.square(), 1.0 - decay)
    return parameters - rate * gradient * (mean_square + epsilon).rsqrt(), mean_square


def mean_distance(policy_actions: Tensor, data_actions: Tensor) -> Tensor:
    """Mean absolute difference over steps, agents and action numbers: [R, T, B, N, A] twice -> [R, B].

    Eq. 8 sums over an agent's A actions instead, so its value is A times this one; Figure 6 plots this one.
    """
    return (policy_actions - data_actions).abs().mean(dim=(1, 3, 4))
