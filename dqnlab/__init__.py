"""dqnlab's core: layers, nets, losses, optimizers, training state, checkpoints, metrics.

It knows no game and no agent. `agents` and `envs` import it; it imports neither.
"""
