"""Exported nets, used by the lines in docs/export.md where dqnlab cannot be imported."""

import dataclasses
import functools
import json
import re
import site
import subprocess
import sys
import zipfile
from pathlib import Path

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from agents import policy, presets, registry, runner
from agents.agent import Agent
from dqnlab.types import Params, PyTree, UserError
from scripts import export, export_file, predictor

ROOT = Path(__file__).resolve().parents[2]
# No `site`: neither this folder nor the editable installation of dqnlab is on the path.
ALONE = (
    "import importlib.util, runpy, sys; sys.path.append({packages!r}); "
    "assert not any(importlib.util.find_spec(each) for each in ('dqnlab', 'agents', 'scripts')); "
    "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0])"
)


def run_alone(script: Path, *args: Path) -> str:
    code = ALONE.format(packages=site.getsitepackages()[0])
    command = [sys.executable, "-I", "-S", "-c", code, str(script), *map(str, args)]
    done = subprocess.run(
        command,
        cwd=script.parent,
        capture_output=True,
        text=True,
        timeout=300,
        env={"JAX_PLATFORMS": "cpu"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def lines_of_the_docs() -> str:
    text = (ROOT / "docs" / "export.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    return code


def q_values(trained: policy.Policy, frames: np.ndarray) -> np.ndarray:
    return np.asarray(_q_values(trained.agent, trained.params, trained.net_state, frames))


@functools.partial(jax.jit, static_argnums=0)  # op by op it would compile each of them
def _q_values(agent: Agent, params: Params, net_state: PyTree, frames: jax.Array) -> jax.Array:
    return agent.q_values(params, net_state, jax.random.PRNGKey(0), frames, (), False)[0]


@pytest.fixture(scope="module")
def breakout() -> tuple[policy.Policy, np.ndarray]:
    """The Nature network on Breakout, and 1,000 stacks of real games that it played.

    Weights larger than at the start of training, so that all actions are chosen.
    """
    env = envs.make("Breakout", 8, training=False)
    settings = presets.preset("dqn", "laptop")
    agent = registry.make("dqn", settings, env.spec)
    params, net_state = jax.jit(agent.init)(jax.random.PRNGKey(3))
    params = jax.tree.map(lambda x: 3.0 * x, params)
    trained = policy.Policy(agent, params, net_state, settings, env.spec, 0)
    stack = jnp.zeros((8, 84, 84, 4), jnp.uint8)
    stacks, rng = [], np.random.default_rng(0)
    state, timestep = env.reset(0)
    for _ in range(125):
        stack = runner.push(stack, timestep)
        stacks.append(np.asarray(stack))
        random = rng.integers(0, 4, 8)
        action = np.where(rng.random(8) < 0.5, random, q_values(trained, stack).argmax(axis=1))
        state, timestep = env.step(state, action.astype(np.int32))
    env.close()
    return trained, np.concatenate(stacks)


def test_the_ten_lines_of_the_docs_give_the_agents_actions_on_1000_frames(breakout, tmp_path):
    trained, frames = breakout
    assert frames.shape == (1000, 84, 84, 4)
    (tmp_path / "use.py").write_text(lines_of_the_docs())
    (tmp_path / "net.zip").write_bytes(export_file.pack(predictor.of_agent(trained, "dqn")))
    np.save(tmp_path / "frames.npy", frames)
    said = run_alone(tmp_path / "use.py", tmp_path / "net.zip", tmp_path / "frames.npy").split()
    expected = [trained.spec.action_meanings[a] for a in q_values(trained, frames).argmax(axis=1)]
    assert said == expected
    assert len(set(said)) > 1


def test_the_file_names_no_path_of_the_machine_that_wrote_it(breakout):
    net = predictor.of_agent(breakout[0], "dqn")
    with_paths = export_file.to_stablehlo(net, ("cpu",)).serialize()
    assert str(ROOT).encode() in with_paths  # what would be in it
    content = export_file.pack(net)
    assert str(ROOT).encode() not in content
    assert b"site-packages" not in content
    assert content == export_file.pack(net)  # called from another line


def test_on_cuda_the_convolutions_are_convolutions_with_the_same_values(breakout):
    trained, frames = breakout
    net = predictor.of_agent(trained, "dqn")
    # What CUDA would run, run here: the check of the platform is left out.
    off = [jax.export.DisabledSafetyCheck.platform()]
    for platform, number in (("cpu", 0), ("cuda", 3)):
        exported = export_file.to_stablehlo(net, (platform,), disabled_checks=off)
        found = re.findall(r"= stablehlo\.convolution", exported.mlir_module())
        assert len(found) == number
        q = np.asarray(jax.jit(exported.call)(frames[:64])["q_values"])
        expected = q_values(trained, frames[:64])
        np.testing.assert_allclose(q, expected, atol=0.02 * np.ptp(expected))


@pytest.mark.parametrize("name", ["c51", "iqn"])
def test_each_kind_of_agent_gives_its_own_q_values_for_any_batch_size(name):
    spec = envs.make("catch", 1).spec
    settings = dataclasses.replace(presets.preset(name, "laptop"), hidden=16)
    agent = registry.make(name, settings, spec)
    trained = policy.Policy(agent, *jax.jit(agent.init)(jax.random.PRNGKey(0)), settings, spec, 0)
    exported = export_file.to_stablehlo(predictor.of_agent(trained, name), ("cpu", "cuda"))
    loaded = jax.export.deserialize(bytearray(exported.serialize()))
    shape = (*spec.obs_shape, spec.stack)
    for batch in (1, 5):
        frames = np.random.default_rng(0).integers(0, 2, (batch, *shape)).astype(spec.obs_dtype)
        np.testing.assert_allclose(
            jax.jit(loaded.call)(frames)["q_values"],
            q_values(trained, frames),
            rtol=1e-5,
            atol=1e-5,
        )


def test_an_agent_with_a_memory_is_refused():
    spec = envs.make("catch", 1).spec
    settings = presets.preset("r2d2", "laptop")
    agent = registry.make("r2d2", settings, spec)
    trained = policy.Policy(agent, {}, {}, settings, spec, 0)
    with pytest.raises(UserError, match="r2d2 has a memory"):
        predictor.of_agent(trained, "r2d2")


def run(*args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "scripts/export.py", *args]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


def test_the_command_writes_a_supervised_net_with_its_classes(tmp_path):
    command = [sys.executable, "scripts/train_supervised.py", "digits-mlp", "--epochs", "1"]
    command += ["--run-dir", str(tmp_path / "digits")]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=300)
    out = tmp_path / "digits.zip"
    assert export.main([str(tmp_path / "digits"), "--out", str(out)]) == 0
    with zipfile.ZipFile(out) as file:
        about = json.loads(file.read("about.json"))
        net = jax.export.deserialize(bytearray(file.read("computation.bin")))
    assert about["task"] == "digits-mlp"
    assert about["info"]["classes"] == list("0123456789")
    x = np.random.default_rng(0).random((7, *about["input"]["shape"][1:]), np.float32)
    outputs = net.call(x)
    assert set(outputs) == set(about["outputs"])
    direct = predictor.load(tmp_path / "digits", "best").predict(x)
    np.testing.assert_array_equal(outputs["class"], direct["class"])
    np.testing.assert_allclose(outputs["probabilities"].sum(axis=1), 1.0, rtol=1e-5)


def test_a_folder_that_is_no_run_is_one_line_and_exit_code_2(tmp_path):
    done = run(str(tmp_path), "--out", str(tmp_path / "net.zip"))
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert str(tmp_path) in done.stderr
    assert not (tmp_path / "net.zip").exists()


def test_a_net_written_for_one_number_of_inputs_is_refused(breakout):
    net = predictor.of_agent(breakout[0], "dqn")
    fixed = net._replace(predict=lambda frames: {"number": np.arange(len(frames))})
    with pytest.raises(UserError, match="does not export for any number of inputs"):
        export_file.to_stablehlo(fixed, ("cpu",))
