"""Networks: torsos, heads and whole nets, as Haiku modules."""

from dqnlab.nets.head import QHead
from dqnlab.nets.impala import ImpalaTorso
from dqnlab.nets.torso import MLP, NatureTorso

__all__ = ["MLP", "ImpalaTorso", "NatureTorso", "QHead"]
