"""Sets of cases that belong together: the project's goals, and all agents."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from agents import presets, registry
from agents.settings import Settings
from scripts.benchmark_options import Options, plain_case
from scripts.benchmark_parts import Case

_NEVER = 10**9  # agent steps


def suite_cases(options: Options) -> list[Case]:
    """What the project has goals for (docs/performance.md), on a CPU or a GPU with 16 cores; or
    every agent with its own settings.
    """
    if options.suite == "agents":
        return [_agent_case(name, options) for name in registry.AGENTS]

    def case(label: str, goals: Mapping[str, float], **changes: Any) -> Case:
        plain = plain_case(options)
        settings = dataclasses.replace(plain.settings, **changes)
        if options.small:
            settings = _small(settings)
        return plain._replace(label=label, settings=settings, goals=goals)

    loop = {"loop_share_of_limit": 0.9}
    if options.suite == "cpu":
        return [
            case("float32", {"learn_share_of_products": 0.5, **loop}, precision="float32"),
            case("bfloat16", loop, precision="bfloat16"),
        ]
    million = {"replay_capacity": 1_000_000}
    per_64 = {"batch_size": 256, "update_period": 64, "target_update_period": 6_400}
    per_row = {"batch_size": 256, "update_period": 4_096, "target_update_period": 40_960}
    acting = case(
        "acting only",
        {"frames_per_second": 200_000},
        num_envs=256,
        learning_starts=_NEVER,
        **million,
    )._replace(parts=("emulator", "act", "loop"))
    return [
        acting._replace(groups=2),
        acting._replace(label="acting only, one group", groups=1, goals={}),
        case("batch 32 per 4 steps", {"frames_per_second": 20_000}, num_envs=64, **million),
        case(
            "batch 256 per 64 steps",
            {"frames_per_second": 100_000},
            num_envs=128,
            **per_64,
            **million,
        ),
        case(
            "Catch", {"frames_per_second": 5_000_000}, num_envs=4_096, **per_row, **million
        )._replace(game="catch"),
    ]


def _agent_case(name: str, options: Options) -> Case:
    preset = presets.preset(name, options.preset)
    plain = plain_case(dataclasses.replace(options, agent=name, settings=preset))
    small = _small(plain.settings) if options.small else plain.settings
    return plain._replace(label=name, settings=small, parts=("emulator", "act", "learn", "loop"))


def _small(settings: Settings) -> Settings:
    few = min(settings.num_envs, 8)
    return dataclasses.replace(settings, num_envs=few, replay_capacity=4_000)
