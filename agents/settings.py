"""Every number of a training run: one flat record, so that each is a flag of the command line.

Periods and sizes are in agent steps (one action in one game; 4 emulator frames on Atari), never in
frames. Lengths of schedules may also be shares of the run (agents/schedules.py). The defaults are
the laptop's: short ramp-ups, several games at once and a replay that fits.
"""

import dataclasses
import math

import numpy as np

from dqnlab.types import choose as choose

TORSOS = ("auto", "auto_impala", "nature", "impala", "mlp")
PRECISIONS = ("auto", "float32", "bfloat16")
PADDINGS = ("valid", "same")
INITIALIZERS = ("fan_in_uniform", "he_uniform", "glorot_uniform", "dopamine_uniform")
REPLAYS = ("uniform", "prioritized", "sequence", "prioritized_sequence", "rollout")
MUNCHAUSEN_POLICIES = ("target", "online")


@dataclasses.dataclass(frozen=True)
class Settings:
    """The hyperparameters of one run."""

    num_envs: int = 8
    """Games played side by side."""
    batch_size: int = 32
    """Transitions per gradient step."""
    replay_capacity: int = 250_000
    """Frames kept in the replay; 7,069 bytes each on Atari."""
    learning_starts: int = 4_000
    """Agent steps before the first gradient step."""
    update_period: int = 4
    """Agent steps per gradient step."""
    target_update_period: int = 2_000
    """Agent steps between copies of the online network to the target network."""
    discount: float = 0.99
    """Discount per agent step (gamma)."""
    n_step: int = 3
    """Steps of reward before bootstrapping."""
    reward_clip: float | None = 1.0
    """Learn from rewards clipped to +- this; None learns from true rewards. Scores stay true."""
    epsilon_initial: float = 1.0
    """Share of random actions until learning_starts."""
    epsilon_final: float = 0.01
    """Share of random actions at the end of the decay."""
    epsilon_decay_steps: int | float = 40_000
    """Length of epsilon's linear fall, beginning at learning_starts: agent steps, or a share of the
    run (0.1)."""
    epsilon_off_steps: int | float | None = None
    """Agent steps, or share of the run, after which epsilon is 0; None never."""
    evaluation_epsilon: float = 0.001
    """Share of random actions in evaluation."""
    double: bool = False
    """Double Q-learning: the online network picks the action, the target network values it."""
    dueling: bool = False
    """Separate value and advantage streams."""
    noisy_sigma: float | None = None
    """Noisy dense layers in the head, with this initial sigma; None: plain ones."""
    noisy_limit: float | None = None
    """Truncate that noise at this many standard deviations; None: not."""
    munchausen_alpha: float = 0.0
    """Share of the (scaled) log-policy added to the reward; 0: no Munchausen targets."""
    munchausen_tau: float = 0.03
    """Temperature of the Munchausen policy softmax(q / tau)."""
    munchausen_l0: float = -1.0
    """Lower bound of the log-policy that is added to the reward."""
    munchausen_policy: str = "target"
    """Network whose policy earns the Munchausen bonus: target, or online as in BTR."""
    num_atoms: int = 51
    """Atoms of a categorical distribution (c51, rainbow, der)."""
    v_max: float = 10.0
    """The atoms lie within +- this."""
    num_quantiles: int = 200
    """Quantiles of qr_dqn."""
    num_taus: int = 8
    """Quantile fractions that iqn samples for its prediction, and as many for its target."""
    num_action_taus: int = 32
    """Quantile fractions whose mean iqn acts upon."""
    num_cosines: int = 64
    """Cosines that embed a quantile fraction."""
    first_cosine: int = 0
    """Half periods of the first one: 0, a constant (iqn's paper), or 1 (DQN Zoo, Dopamine)."""
    hidden: int = 512
    """Units of the dense layer (of each stream if dueling)."""
    torso: str = "auto"
    """nature or impala (conv nets) or mlp. auto: nature for images of 36 pixels and more, else mlp;
    auto_impala: the same with impala."""
    torso_padding: str = "valid"
    """Padding of nature's convolutions: valid, none, as published; same, zeros, as in Dopamine."""
    centre_frames: bool = False
    """Take each frame's background, its median, off before nature's first convolution (without
    layer_norm): filters that see a uniform background as nothing do not die on it."""
    torso_width: float = 1
    """Factor on the channels of nature (32, 64, 64) and impala (16, 32, 32)."""
    pool_size: int | None = None
    """Adaptive max-pool of impala's output to this many rows and columns; None keeps all."""
    spectral_norm: bool = False
    """Spectral normalisation of impala's residual convolutions."""
    layer_norm: bool = False
    """LayerNorm before every ReLU of the torso (always in pqn's head)."""
    initializer: str = "fan_in_uniform"
    """First weights: fan_in_uniform (as Nature DQN), or with zero biases he_uniform (what is seen
    keeps its size through the ReLUs), glorot_uniform (Dopamine's dqn and full_rainbow) or
    dopamine_uniform (its other distributional agents)."""
    augmentation_pad: int = 0
    """Images of a batch are moved at random by up to this many pixels; 0: not."""
    augmentation_intensity: float = 0.0
    """... and made brighter or darker at random, by this standard deviation; 0: not."""
    precision: str = "auto"
    """Compute type of the network, float32 or bfloat16; parameters and TD targets stay float32.
    auto: bfloat16 where the machine multiplies it faster (GPUs, CPUs with AMX, with AVX512_BF16 and
    a C++ compiler), else float32."""
    replay: str = "uniform"
    """uniform or prioritized transitions; sequence or prioritized_sequence, what r2d2 learns from;
    rollout, what pqn learns from."""
    priority_exponent: float = 0.5
    """Sampling is in proportion to priority to this power (alpha); 0: uniform."""
    importance_exponent: float = 0.4
    """Exponent of the importance weights at the start (beta)."""
    importance_exponent_final: float = 1.0
    """Exponent of the importance weights at the end."""
    importance_exponent_steps: int | float = 1 / 3
    """Length of that exponent's linear growth, beginning at learning_starts: agent steps, or a
    share of the run."""
    priority_uniform_share: float = 0.0
    """Share of a prioritized batch that is drawn uniformly."""
    burn_in: int = 10
    """Steps of a sequence that only bring its recurrent state up to date (r2d2)."""
    sequence_length: int = 20
    """Steps of a sequence that are learnt from (r2d2)."""
    sequence_period: int = 10
    """Steps of a game from the start of one sequence to the next (r2d2)."""
    priority_max_share: float = 0.9
    """Share of the largest TD error in a sequence's priority, beside the mean one (eta)."""
    rollout_steps: int = 32
    """Steps of each game between two calls of the learner (pqn)."""
    epochs: int = 2
    """Times that each step of a rollout is learnt from (pqn)."""
    td_lambda: float = 0.65
    """Decay of the lambda-returns of a rollout (pqn)."""
    optimizer: str = "adam"
    """adam, radam, centered_rmsprop or asgo."""
    learning_rate: float = 2.5e-4
    """Optimizer's step size."""
    learning_rate_warmup_steps: int | float = 0
    """Length of its linear rise from 0 once learning starts, in agent steps or as a share of the
    run: the first estimates of an optimizer's moments are rough."""
    learning_rate_final: float | None = None
    """Step size at the end of its decay, at most learning_rate; None: it does not decay."""
    learning_rate_decay_starts: int | float = 1 / 3
    """Agent steps, or share of the run, after which it begins to fall."""
    learning_rate_decay_steps: int | float = 1 / 3
    """Length of its linear fall: agent steps, or a share of the run."""
    optimizer_epsilon: float = 1.5e-4
    """Added to the root of the mean squared gradient that Adam divides by: where gradients are
    smaller than this, steps are."""
    max_grad_norm: float | None = 10.0
    """Clip gradients to this global norm; None does not clip."""
    huber_delta: float | None = 1.0
    """TD errors beyond this count linearly (error clipping; kappa of quantile losses); None means
    squared error."""
    clip_weighted_errors: bool = False
    """Clip TD errors after the importance weights multiply them, as in DQN Zoo, not before."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, np.generic):  # NumPy's numbers are not JSON's
                object.__setattr__(self, name, value.item())

    def updates_and_steps(self) -> tuple[int, int]:
        """Gradient steps per learner call, and vector steps (of all games) between calls."""
        if self.replay == "rollout":
            return (
                self.epochs * self.rollout_steps * self.num_envs // self.batch_size,
                self.rollout_steps,
            )
        shared = math.gcd(self.num_envs, self.update_period)
        return self.num_envs // shared, self.update_period // shared

    def updates_after(self, agent_steps: int | float) -> int:
        """Gradient steps taken after so many agent steps, to a learner call.

        Raises TypeError for a share of a run.
        """
        updates, rows = self.updates_and_steps()
        learning = max(0, whole(agent_steps) - self.learning_starts)
        return learning * updates // (rows * self.num_envs)

    def munchausen(self) -> tuple[float, float, float]:
        """Alpha, tau and l0 of a Munchausen TD error, in its order."""
        return self.munchausen_alpha, self.munchausen_tau, self.munchausen_l0


def whole(length: int | float | None) -> int:
    """Return a schedule's length in agent steps.

    Raises TypeError for a share of the run: `schedules.in_steps` makes steps of it before.
    """
    if not isinstance(length, int):
        raise TypeError(f"{length} is not a number of agent steps; call schedules.in_steps first")
    return length
