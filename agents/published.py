"""The published sets of hyperparameters, with the source of each number.

Sources, as read on public copies:

  DQN Zoo    github.com/google-deepmind/dqn_zoo 45061f4, dqn_zoo/<agent>/run_atari.py; periods
             there count frames, four to an agent step
  Dopamine   github.com/google/dopamine 5873f54, dopamine/jax/agents/*/configs/*.gin
"""

from dataclasses import replace
from typing import Any

from agents.settings import Settings

Parts = dict[str, Any]  # some of the fields

# Mnih et al. 2015, Extended Data Table 1, as DQN Zoo implements it.
NATURE = Settings(
    num_envs=1,
    batch_size=32,
    replay_capacity=1_000_000,
    learning_starts=50_000,
    update_period=4,
    target_update_period=10_000,  # DQN Zoo: 4e4 frames. The table's unit is ambiguous.
    discount=0.99,
    n_step=1,
    reward_clip=1.0,
    epsilon_final=0.1,
    epsilon_decay_steps=1_000_000,
    evaluation_epsilon=0.05,
    precision="float32",
    optimizer="centered_rmsprop",
    learning_rate=2.5e-4,
    optimizer_epsilon=0.01 / 32**2,  # the paper's 0.01 is for gradients summed over the batch
    max_grad_norm=None,
    huber_delta=1.0,
)

# What DQN Zoo changes for every later agent.
ZOO = replace(NATURE, epsilon_final=0.01, evaluation_epsilon=0.01)
ZOO_ADAM = replace(
    ZOO,
    optimizer="adam",
    optimizer_epsilon=0.01 / 32,
    evaluation_epsilon=0.001,
    max_grad_norm=10.0,
)
ZOO_DOUBLE = replace(ZOO, double=True, target_update_period=30_000)  # 1.2e5 frames

# Dopamine's JAX DQN (dqn.gin), the "Adam + MSE" baseline.
DOPAMINE = Settings(
    num_envs=1,
    batch_size=32,
    replay_capacity=1_000_000,
    learning_starts=20_000,
    update_period=4,
    target_update_period=8_000,
    discount=0.99,
    n_step=1,
    reward_clip=1.0,
    epsilon_final=0.01,
    epsilon_decay_steps=250_000,
    evaluation_epsilon=0.001,
    initializer="glorot_uniform",  # dopamine/jax/networks.py
    torso_padding="same",  # Flax's default: 7,744 features
    precision="float32",
    optimizer="adam",
    learning_rate=6.25e-5,
    optimizer_epsilon=1.5e-4,
    max_grad_norm=None,
    huber_delta=None,
)
DOPAMINE_QUANTILES = replace(  # also M-DQN and M-IQN
    DOPAMINE, learning_rate=5e-5, optimizer_epsilon=3.125e-4, huber_delta=1.0
)
# rainbow_agent.py: priority sqrt(loss), weights 1/sqrt(probability), both for the whole run.
DOPAMINE_PRIORITIZED: Parts = {
    "replay": "prioritized",
    "priority_exponent": 0.5,
    "importance_exponent": 0.5,
    "importance_exponent_final": 0.5,
}
UNWEIGHTED: Parts = {"importance_exponent": 0.0, "importance_exponent_final": 0.0}
DOPAMINE_RAINBOW = replace(  # rainbow.gin
    DOPAMINE, n_step=3, initializer="dopamine_uniform", **DOPAMINE_PRIORITIZED
)
FULL_RAINBOW: Parts = {
    "double": True,
    "dueling": True,
    # networks.py: NoisyNetwork starts at 0.1 / sqrt(inputs), not the paper's 0.5.
    "noisy_sigma": 0.1,
    # full_rainbow_agent.py: zero_epsilon where there is noise, whatever the .gin says.
    "epsilon_initial": 0.0,
    "epsilon_final": 0.0,
    "initializer": "glorot_uniform",
}

MUNCHAUSEN: Parts = {
    "munchausen_alpha": 0.9,
    "munchausen_tau": 0.03,
    "munchausen_l0": -1.0,
}  # 2007.14430

# dopamine/labs/atari_100k/configs/DER.gin and DrQ_eps.gin; the common part.
ATARI_100K = replace(
    DOPAMINE,
    n_step=10,
    learning_starts=1_600,
    update_period=1,
    replay_capacity=100_000,  # "1M as a proxy for unbounded": the benchmark ends after 100k steps
    learning_rate=1e-4,
    optimizer_epsilon=1.5e-4,
    huber_delta=1.0,
)
DER = replace(ATARI_100K, target_update_period=2_000, **(DOPAMINE_PRIORITIZED | FULL_RAINBOW))
DRQ_EPS = replace(
    ATARI_100K,
    target_update_period=1,
    double=True,
    dueling=True,
    epsilon_decay_steps=5_000,
    augmentation_pad=4,
    augmentation_intensity=0.05,
)

# Beyond the Rainbow, 2411.03820, Table D6 (second-hand: read in a survey, not in the paper), and
# its code, github.com/VIPTankz/BeyondTheRainbowICML, Agent.py and PER.py, where marked.
BTR_PARTS: Parts = {
    "torso": "auto_impala",
    "pool_size": 6,
    "spectral_norm": True,
    "dueling": True,
    "noisy_sigma": 0.5,
    "num_taus": 8,
    "num_action_taus": 8,
    "num_cosines": 64,
    **MUNCHAUSEN,
    "munchausen_policy": "online",  # code; 2007.14430 takes the target network's
    "replay": "prioritized",
    "priority_exponent": 0.2,
    # Code: weights (N p)^-alpha, "originally this was an accident but actually performed better".
    "importance_exponent": 0.2,
    "importance_exponent_final": 0.2,
}
BTR = Settings(
    num_envs=64,
    batch_size=256,
    replay_capacity=2**20,
    learning_starts=200_000,
    update_period=64,
    target_update_period=32_000,  # 500 gradient steps
    discount=0.997,
    n_step=3,
    epsilon_final=0.01,
    # Code: not linear but exponential, its time constant 8M frames of a run of 200M.
    epsilon_decay_steps=0.04,
    epsilon_off_steps=0.5,  # code: half of the run
    evaluation_epsilon=0.0,  # after 125M frames; 0.01 before
    torso_width=2,
    hidden=512,
    precision="float32",
    learning_rate=1e-4,
    optimizer_epsilon=0.005 / 256,
    max_grad_norm=10.0,
    huber_delta=1.0,
    **BTR_PARTS,
)

# purejaxql/config/alg/pqn_atari.yaml and pqn_atari.py, github.com/mttga/purejaxql 47af6d7.
PQN = Settings(
    num_envs=128,
    replay="rollout",
    rollout_steps=32,
    batch_size=128,  # 32 minibatches
    epochs=2,
    replay_capacity=128 * (32 + 4),  # what a rollout and the stack before it take
    learning_starts=0,
    discount=0.99,
    td_lambda=0.65,
    reward_clip=1.0,
    epsilon_final=0.001,
    epsilon_decay_steps=0.1,  # of 200M frames
    evaluation_epsilon=0.0,
    layer_norm=True,
    hidden=512,
    precision="float32",
    optimizer="radam",
    learning_rate=2.5e-4,
    optimizer_epsilon=1e-8,  # optax's default
    max_grad_norm=10.0,
    huber_delta=None,
)

# Kapturowski et al. 2019, section 2.3 and table 2 of the appendix (missing numbers are Ape-X's).
R2D2_PARTS: Parts = {
    "replay": "prioritized_sequence",
    "priority_exponent": 0.9,
    "priority_max_share": 0.9,
    "importance_exponent": 0.6,
    "importance_exponent_final": 0.6,
    "dueling": True,
    "reward_clip": None,  # values are rescaled instead
    "huber_delta": None,
}
R2D2 = Settings(
    num_envs=256,
    batch_size=64,
    sequence_length=80,
    sequence_period=40,
    burn_in=40,
    replay_capacity=4_000_000,
    learning_starts=50_000,  # Ape-X, 1803.00933 (second-hand: from memory)
    update_period=6_400,  # 64 * 80 / 0.8: each step is learnt from 0.8 times (appendix)
    target_update_period=2_500 * 6_400,
    discount=0.997,
    n_step=5,
    # Ours: the paper gives each of its actors another epsilon, 0.4^(1 + 7 i / 255).
    epsilon_final=0.01,
    epsilon_decay_steps=1_000_000,
    evaluation_epsilon=0.0,
    hidden=512,
    precision="float32",
    learning_rate=1e-4,
    optimizer_epsilon=1e-3,
    # Ape-X, and google-research/seed_rl, agents/r2d2/learner.py.
    max_grad_norm=40.0,
    # "omitted this step in R2D2" (section 2.3); the table has an exponent of 0.6 nevertheless.
    **R2D2_PARTS | UNWEIGHTED,
)
