"""The DQN family: networks with their losses, replay, the training loop, evaluation."""
