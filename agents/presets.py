"""Every number of a training run, and the published sets of them.

One preset serves all games; nothing here may depend on a game's name. Periods and sizes are in
agent steps (one action in one game; 4 emulator frames on Atari), never in frames.
"""

import dataclasses
import difflib
import math

from dqnlab import optim
from dqnlab.types import UserError

TORSOS = ("auto", "nature", "mlp")
PRECISIONS = ("auto", "float32", "bfloat16")


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
    """Learn from rewards clipped to +- this; None learns from true rewards. Scores are never clipped."""
    epsilon_final: float = 0.01
    """Share of random actions at the end of the decay."""
    epsilon_decay_steps: int = 40_000
    """Agent steps over which epsilon falls linearly from 1, beginning at learning_starts."""
    evaluation_epsilon: float = 0.001
    """Share of random actions in evaluation."""
    double: bool = False
    """Double Q-learning: the online network picks the action, the target network values it."""
    dueling: bool = False
    """Separate value and advantage streams."""
    hidden: int = 512
    """Units of the dense layer (of each stream if dueling)."""
    torso: str = "auto"
    """nature (conv net), mlp, or auto: nature for images of 36 pixels and more, else mlp."""
    precision: str = "auto"
    """Compute type of the network, float32 or bfloat16; parameters and TD targets stay float32.
    auto: bfloat16 where the machine multiplies it faster (GPUs, CPUs with AMX), else float32."""
    optimizer: str = "adam"
    """adam or centered_rmsprop."""
    learning_rate: float = 2.5e-4
    """Optimizer's step size."""
    optimizer_epsilon: float = 1.5e-4
    """Optimizer's epsilon."""
    max_grad_norm: float | None = 10.0
    """Clip gradients to this global norm; None does not clip."""
    huber_delta: float | None = 1.0
    """TD errors beyond this count linearly (error clipping); None means squared error."""

    def updates_and_steps(self) -> tuple[int, int]:
        """Gradient steps per learner call, and vector steps (of all games) between calls."""
        shared = math.gcd(self.num_envs, self.update_period)
        return self.num_envs // shared, self.update_period // shared


# Mnih et al. 2015, Extended Data Table 1, as DQN Zoo implements it.
_NATURE = Settings(
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
    double=False,
    dueling=False,
    precision="float32",
    optimizer="centered_rmsprop",
    learning_rate=2.5e-4,
    optimizer_epsilon=0.01 / 32**2,  # the paper's 0.01 is for gradients summed over the batch
    max_grad_norm=None,
    huber_delta=1.0,
)

# Dopamine's JAX DQN (dopamine/jax/agents/dqn/configs/dqn.gin), the "Adam + MSE" baseline.
_DOPAMINE = Settings(
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
    double=False,
    dueling=False,
    precision="float32",
    optimizer="adam",
    learning_rate=6.25e-5,
    optimizer_epsilon=1.5e-4,
    max_grad_norm=None,
    huber_delta=None,
)

# Ours: the same network and algorithm family with short ramp-ups, more games at once and a replay
# that fits a laptop. docs/results/ has the runs behind each number that is not a default above.
_LAPTOP = Settings()

PRESETS: dict[str, Settings] = {"laptop": _LAPTOP, "nature": _NATURE, "dopamine": _DOPAMINE}


def preset(name: str) -> Settings:
    """The preset of that name; UserError naming the nearest one otherwise."""
    if name not in PRESETS:
        near = difflib.get_close_matches(name, PRESETS, n=1, cutoff=0.0)
        raise UserError(
            f"preset {name!r} is unknown; did you mean {near[0]}? Allowed: {', '.join(PRESETS)}"
        )
    return PRESETS[name]


def check(settings: Settings) -> None:
    """Raise UserError for the first setting that is impossible, naming what is allowed."""
    s = settings
    at_least_one = (
        "num_envs batch_size replay_capacity update_period target_update_period n_step hidden"
    )
    for name in at_least_one.split():
        _require(getattr(s, name) >= 1, s, name, "an integer of at least 1")
    for name in ("learning_starts", "epsilon_decay_steps"):
        _require(getattr(s, name) >= 0, s, name, "an integer of at least 0")
    for name in ("discount", "epsilon_final", "evaluation_epsilon"):
        _require(0 <= getattr(s, name) <= 1, s, name, "between 0 and 1")
    for name in ("learning_rate", "optimizer_epsilon"):
        _require(0 < getattr(s, name) < math.inf, s, name, "a finite number above 0")
    for name in ("reward_clip", "max_grad_norm", "huber_delta"):
        value = getattr(s, name)
        _require(value is None or 0 < value < math.inf, s, name, "None or a number above 0")
    for name, allowed in (
        ("torso", TORSOS),
        ("precision", PRECISIONS),
        ("optimizer", optim.OPTIMIZERS),
    ):
        _require(getattr(s, name) in allowed, s, name, f"one of {', '.join(allowed)}")
    _require(s.batch_size <= s.replay_capacity, s, "batch_size", "at most replay_capacity")
    _require(
        s.target_update_period % s.update_period == 0,
        s,
        "target_update_period",
        f"a multiple of update_period ({s.update_period})",
    )


def _require(is_fine: bool, settings: Settings, name: str, allowed: str) -> None:
    if not is_fine:
        raise UserError(f"{name} is {getattr(settings, name)}; it must be {allowed}")
