"""Independent DDPG+CQL, a baseline without coordination: MADDPG+CQL in which every agent is alone.

As in OG-MARL's later code (og_marl/tf2/offline/iddpg_cql.py) the critics see the state, the agent's id and its own action,
so there are no other agents to respond to. It is MADDPG+CQL on a batch in which every agent's sequence is a sequence of its
own with one agent; the policy, its recurrence and the distance stay as they are.
"""

from torch import Tensor

from pjap_bench.algorithms.maddpg_cql import MaddpgCql
from pjap_bench.datasets.sequences import Batch, SequenceData
from pjap_bench.networks import critic_layout, with_agent_id


class IndependentDdpgCql(MaddpgCql):
    """Shared recurrent policy, shared twin critics of state and one agent's action, conservative regularisation."""

    def __init__(self, data: SequenceData, settings: dict):
        super().__init__(data, settings)
        self.critic = critic_layout(data.agents + data.state_size, data.action_size, settings["critic_width"])

    def _seen_by_critics(self, batch: Batch) -> Batch:
        """Every agent's sequence as one of its own: B sequences of N agents -> B N sequences of one."""
        agents = batch.actions.shape[3]
        shared = {name: getattr(batch, name).repeat_interleave(agents, dim=2) for name in ("rewards", "terminals", "weights")}
        states = with_agent_id(batch.states[:, :, :, None].expand(-1, -1, -1, agents, -1))  # [R, T, B, N, N + S]
        return batch._replace(states=states.flatten(2, 3), actions=self._grouped(batch.actions), **shared)

    def _grouped(self, actions: Tensor) -> Tensor:
        """[R, T, B, N, A] -> [R, T, B N, 1, A]."""
        return actions.flatten(2, 3)[:, :, :, None]
