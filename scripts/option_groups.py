"""`train_dqn.py --help` in groups: every option and setting has its place in one of them."""

import ast
import dataclasses
import inspect
import textwrap
from collections.abc import Mapping
from typing import Annotated, Any, get_type_hints

import tyro

GROUPS = {
    "everyday": "game agent preset frames seed run_dir resume device eval_episodes quiet",
    "run": "protocol num_seeds num_envs init_torso checkpoint_every log_every reseed_every keep "
    "wandb",
    "exploration": "epsilon_initial epsilon_final epsilon_decay_steps epsilon_off_steps "
    "evaluation_epsilon noisy_sigma noisy_limit",
    "learning": "discount n_step reward_clip double huber_delta learning_starts update_period "
    "target_update_period batch_size augmentation_pad augmentation_intensity",
    "replay": "replay replay_capacity priority_exponent importance_exponent "
    "importance_exponent_final importance_exponent_steps priority_uniform_share "
    "clip_weighted_errors",
    "network": "torso torso_padding torso_width centre_frames pool_size spectral_norm layer_norm "
    "hidden dueling initializer precision",
    "optimizer": "optimizer learning_rate learning_rate_warmup_steps learning_rate_final "
    "learning_rate_decay_starts learning_rate_decay_steps optimizer_epsilon max_grad_norm",
    "munchausen": "munchausen_alpha munchausen_tau munchausen_l0 munchausen_policy",
    "c51_rainbow_der": "num_atoms v_max",
    "qr_dqn": "num_quantiles",
    "iqn": "num_taus num_action_taus num_cosines first_cosine",
    "r2d2": "burn_in sequence_length sequence_period priority_max_share",
    "pqn": "rollout_steps epochs td_lambda",
}


def grouped(default: Any) -> Any:
    """Return the same options and settings as a record of one record for each group."""
    owners = (default, default.settings)
    values = {name: value for owner in owners for name, value in vars(owner).items()}
    hints = {k: v for owner in owners for k, v in get_type_hints(type(owner)).items()}
    docs = {k: v for owner in owners for k, v in _docs(type(owner)).items()}
    del values["settings"]
    values["list"], hints["list"] = False, bool
    docs["list"] = "Print every agent with its presets, papers and sizes, and do nothing else."
    groups = {group: names.split() for group, names in GROUPS.items()}
    groups["everyday"].append("list")
    placed = {name for names in groups.values() for name in names}
    groups["other"] = [name for name in values if name not in placed]
    fields: list[Any] = []
    for group, names in groups.items():
        record = _record(group, {name: (hints[name], docs[name], values[name]) for name in names})
        fields.append((group, tyro.conf.OmitArgPrefixes[record], record()))
    return dataclasses.make_dataclass("Options", fields, frozen=True)()


def ungrouped(given: Any, default: Any) -> Any:
    """Return `default` with the values of what `grouped` made."""
    values = {name: value for group in vars(given).values() for name, value in vars(group).items()}
    del values["list"]
    of_settings = {name: values.pop(name) for name in vars(default.settings)}
    settings = dataclasses.replace(default.settings, **of_settings)
    return dataclasses.replace(default, settings=settings, **values)


def _record(name: str, columns: Mapping[str, tuple[Any, str, Any]]) -> Any:
    fields: list[Any] = [
        (field, Annotated[hint, tyro.conf.arg(help=doc)], dataclasses.field(default=value))
        for field, (hint, doc, value) in columns.items()
    ]
    return dataclasses.make_dataclass(name, fields, frozen=True, namespace={"__doc__": ""})


def _docs(record: type) -> dict[str, str]:
    """Return the string under each field of a dataclass."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(record))).body
    assert isinstance(body, ast.ClassDef)
    return {
        field.target.id: " ".join(doc.value.value.split())
        for field, doc in zip(body.body, body.body[1:], strict=False)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(doc, ast.Expr)
        and isinstance(doc.value, ast.Constant)
    }
