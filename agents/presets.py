"""Every agent's sets of hyperparameters: the laptop's, and the published ones.

One preset serves all games; nothing here may depend on a game's name. Each agent has `laptop`:
the same numbers for all, changed only in what makes the agent. `agents/published.py` has what
papers and their code share among agents, with its sources. An agent without a row here has the
shared `laptop` and no other preset.
"""

from dataclasses import replace

from agents import published, registry
from agents.settings import Settings, choose
from dqnlab.types import UserError

# Ours: short ramp-ups, more games at once, a replay that fits a laptop, and a learning rate that
# falls, late, from four times Dopamine's to it. docs/results/ has the runs behind each number.
_LAPTOP = Settings(centre_frames=True, learning_rate_final=6.25e-5)

# The parts that agents add to `laptop`.
_PRIORITIZED: published.Parts = {"replay": "prioritized"}
# Half of Nature's channels and units, ASGO's steps, twice the games and half the updates: more
# frames an hour, and fewer of them to learn. Measured with this agent only, so the others stay as
# they were.
_NARROW: published.Parts = {
    "num_envs": 16,
    "update_period": 8,
    "torso_width": 0.5,
    "hidden": 256,
    "optimizer": "asgo",
    "optimizer_epsilon": 1e-5,
    "learning_rate": 5e-4,
    "learning_rate_warmup_steps": 8_000,
    "learning_rate_final": 5e-5,
    "learning_rate_decay_starts": 1 / 3,
    "learning_rate_decay_steps": 1 / 2,
}
# Random until learning starts, then by noise alone. The paper's sigma_0 (1706.10295, section 3.2).
_NOISY: published.Parts = {"noisy_sigma": 0.5, "epsilon_final": 0.0, "epsilon_decay_steps": 0}

PRESETS: dict[str, dict[str, Settings]] = {
    "dqn": {"laptop": _LAPTOP, "nature": published.NATURE, "dopamine": published.DOPAMINE},
    "double_dqn": {
        "laptop": replace(_LAPTOP, double=True),
        "zoo": published.ZOO_DOUBLE,
    },
    "dueling": {
        "laptop": replace(_LAPTOP, double=True, dueling=True),
        # 1511.06581, section 4.2: as double DQN, but for a lower rate and gradients clipped to
        # norm 10 (second-hand: from memory of the paper).
        "paper": replace(
            published.ZOO_DOUBLE, dueling=True, learning_rate=6.25e-5, max_grad_norm=10.0
        ),
    },
    "prioritized": {
        "laptop": replace(_LAPTOP, double=True, **_PRIORITIZED, **_NARROW),
        "zoo": replace(
            published.ZOO_DOUBLE,
            learning_rate=2.5e-4 / 4,
            optimizer_epsilon=0.01 / 32**2 / 4**2,
            replay="prioritized",
            priority_exponent=0.6,
            importance_exponent=0.4,
            importance_exponent_final=1.0,
            importance_exponent_steps=50_000_000 - 50_000,  # to the end of 200M frames
            priority_uniform_share=1e-3,
            clip_weighted_errors=True,
        ),
    },
    "noisy": {
        "laptop": replace(_LAPTOP, **_NOISY),
        # 1706.10295, section 4: DQN's numbers without epsilon (second-hand: from memory).
        "paper": replace(published.NATURE, noisy_sigma=0.5, epsilon_initial=0.0, epsilon_final=0.0),
    },
    "c51": {
        "laptop": _LAPTOP,
        "zoo": replace(published.ZOO_ADAM, num_atoms=51, v_max=10.0),
        "dopamine": replace(  # c51.gin
            published.DOPAMINE,
            learning_rate=2.5e-4,
            optimizer_epsilon=3.125e-4,
            initializer="dopamine_uniform",
        ),
    },
    "qr_dqn": {
        "laptop": replace(_LAPTOP, num_quantiles=51),  # as many outputs as c51
        "zoo": replace(published.ZOO_ADAM, learning_rate=5e-5, num_quantiles=201),
        "dopamine": replace(  # quantile.gin
            published.DOPAMINE_QUANTILES,
            n_step=3,
            num_quantiles=200,
            initializer="dopamine_uniform",
            # quantile_agent.py: the weights reach the logged loss, not the gradient.
            **published.DOPAMINE_PRIORITIZED | published.UNWEIGHTED,
        ),
    },
    "iqn": {
        # 1806.06923, figure 5: 8 fractions are about as good as 64 (second-hand: from memory).
        "laptop": replace(_LAPTOP, num_taus=8, num_action_taus=32),
        "zoo": replace(
            published.ZOO_ADAM,
            learning_rate=5e-5,
            learning_starts=20_000,
            max_grad_norm=None,
            num_taus=64,
            num_action_taus=64,
            first_cosine=1,
        ),
        "dopamine": replace(  # implicit_quantile.gin
            published.DOPAMINE_QUANTILES,
            n_step=3,
            num_taus=64,
            num_action_taus=32,
            first_cosine=1,
            initializer="dopamine_uniform",
        ),
    },
    # google-research/munchausen_rl, atari.gin.
    "m_dqn": {
        "laptop": replace(_LAPTOP, **published.MUNCHAUSEN),
        "paper": replace(published.DOPAMINE_QUANTILES, **published.MUNCHAUSEN),
    },
    "m_iqn": {
        "laptop": replace(_LAPTOP, **published.MUNCHAUSEN),
        "paper": replace(
            published.DOPAMINE_QUANTILES,
            num_taus=64,
            num_action_taus=32,
            first_cosine=1,
            initializer="dopamine_uniform",
            **published.MUNCHAUSEN,
        ),
    },
    "rainbow": {
        # Noise that starts at 0.1, as in DQN Zoo and Dopamine, not at the paper's 0.5.
        "laptop": replace(
            _LAPTOP, double=True, dueling=True, **_PRIORITIZED, **_NOISY | {"noisy_sigma": 0.1}
        ),
        "zoo": replace(
            published.ZOO_ADAM,
            learning_starts=20_000,
            target_update_period=8_000,  # 3.2e4 frames
            n_step=3,
            learning_rate=2.5e-4 / 4,
            optimizer_epsilon=0.005 / 32,
            double=True,
            dueling=True,
            noisy_sigma=0.1,
            noisy_limit=2.0,
            epsilon_initial=0.0,
            epsilon_final=0.0,
            evaluation_epsilon=0.0,
            replay="prioritized",
            priority_exponent=0.5,
            importance_exponent=0.4,
            importance_exponent_final=1.0,
            importance_exponent_steps=50_000_000 - 20_000,
            priority_uniform_share=1e-3,
        ),
        "dopamine": replace(
            published.DOPAMINE_RAINBOW, **published.FULL_RAINBOW
        ),  # full_rainbow.gin
    },
    "rainbow_dopamine": {
        "laptop": replace(_LAPTOP, **published.DOPAMINE_PRIORITIZED),
        "dopamine": published.DOPAMINE_RAINBOW,
    },
    "btr": {
        # The paper's four samples learnt from per agent step and 500 updates per target, in
        # batches for a small machine.
        "laptop": replace(
            _LAPTOP, update_period=8, target_update_period=4_000, **published.BTR_PARTS
        ),
        "paper": published.BTR,
    },
    "der": {
        "laptop": replace(
            _LAPTOP,
            n_step=10,
            update_period=1,
            double=True,
            dueling=True,
            **_PRIORITIZED,
            **_NOISY,
        ),
        "dopamine": published.DER,
    },
    "drq_eps": {
        "laptop": replace(
            _LAPTOP,
            n_step=10,
            update_period=1,
            target_update_period=1,
            double=True,
            dueling=True,
            augmentation_pad=4,
            augmentation_intensity=0.05,
        ),
        "dopamine": published.DRQ_EPS,
    },
    "pqn": {
        # The paper's 64 agent steps per gradient step of 128 samples, with fewer games.
        "laptop": replace(
            published.PQN,
            num_envs=32,
            replay_capacity=32 * (32 + 4),
            evaluation_epsilon=0.001,
            precision="auto",
        ),
        "paper": published.PQN,
    },
    "r2d2": {
        # Ten samples learnt from per agent step, in many small batches of short sequences; the
        # paper's n. Of fewer, larger batches (16 each 64 steps) it learnt next to nothing.
        "laptop": replace(
            _LAPTOP,
            n_step=5,
            batch_size=8,
            sequence_length=20,
            sequence_period=10,
            burn_in=10,
            update_period=16,
            max_grad_norm=40.0,  # losses are sums over a sequence
            **published.R2D2_PARTS,
        ),
        "paper": published.R2D2,
    },
}


def presets_of(agent: str) -> dict[str, Settings]:
    """The agent's presets: its row in PRESETS, or the shared `laptop` numbers if it has no row."""
    registry.check_name(agent)
    replays = registry.AGENTS[agent].replays
    if agent not in PRESETS and _LAPTOP.replay not in replays:
        raise UserError(
            f"agent {agent!r} has no presets, and the shared one has replay {_LAPTOP.replay!r}, "
            f"where it learns from {', '.join(replays)}: give it a row in agents/presets.py"
        )
    return PRESETS.get(agent, {"laptop": _LAPTOP})


def preset(agent: str, name: str) -> Settings:
    """The agent's preset of that name; UserError naming the nearest one otherwise."""
    return choose(presets_of(agent), name, f"preset of {agent}")
