"""The DQN family: networks with their losses, replay, the training loop, evaluation."""

from agents.policy import Policy, load

__all__ = ["Policy", "load"]
