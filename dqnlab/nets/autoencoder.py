"""Autoencoders: nets that give back what they see, through a code that is smaller."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax

from dqnlab import fit, train
from dqnlab.layers.conv import Conv2D
from dqnlab.nets.torso import NatureTorso, unit_scale
from dqnlab.train import LossAux
from dqnlab.types import Array, Params, PyTree


class Reconstruction(NamedTuple):
    """What an autoencoder says."""

    x: Array  # like the input
    code: Array  # [B, code size]


class Coder(hk.Module):
    """One layer of an autoencoder: `encode` and, with its transposed weights or others, `decode`.

    Parameters: w [D, size], b [size], b_decode [D], and w_decode [size, D] where it is not tied.
    """

    def __init__(self, input_size: int, size: int, *, tied: bool, name: str | None = None):
        super().__init__(name=name)
        self._sizes = (input_size, size)
        self._tied = tied

    def encode(self, x: Array) -> Array:
        """[B, D] -> [B, size], linear."""
        return x @ self._weights() + self._bias("b", self._sizes[1], x)

    def decode(self, code: Array) -> Array:
        """[B, size] -> [B, D], linear."""
        inputs, size = self._sizes
        if self._tied:
            w = self._weights().T
        else:
            init = hk.initializers.TruncatedNormal(size**-0.5)
            w = hk.get_parameter("w_decode", (size, inputs), init=init)
        return code @ w + self._bias("b_decode", inputs, code)

    def _weights(self) -> Array:
        init = hk.initializers.TruncatedNormal(self._sizes[0] ** -0.5)
        return hk.get_parameter("w", self._sizes, init=init)

    def _bias(self, name: str, size: int, x: Array) -> Array:
        return jnp.broadcast_to(hk.get_parameter(name, (size,), init=jnp.zeros), (len(x), size))


class DenseAutoencoder(hk.Module):
    """Dense layers down to a code and back; only the last layer back is linear.

    `sizes` are those of the layers down, the code's the last. `tied` layers go back by their
    transposed weights. `noise` is the standard deviation of what is added to the input in training
    (a denoising autoencoder: Vincent et al. 2008), whose aim is the input without it.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        tied: bool = False,
        noise: float = 0.0,
        activation: Callable[[Array], Array] = jnp.tanh,
        name: str | None = None,
    ):
        super().__init__(name=name)
        self._sizes = sizes
        self._tied = tied
        self._noise = noise
        self._activation = activation

    def __call__(self, x: Array, is_training: bool) -> Reconstruction:
        """[B, D] -> [B, D] and the code."""
        pairs = zip([x.shape[-1], *self._sizes], self._sizes, strict=False)
        layers = [Coder(*pair, tied=self._tied, name=f"layer{i}") for i, pair in enumerate(pairs)]
        if self._noise and is_training:
            x = x + self._noise * jax.random.normal(hk.next_rng_key(), x.shape)
        for layer in layers:
            x = self._activation(layer.encode(x))
        code = x
        for layer in reversed(layers[1:]):
            x = self._activation(layer.decode(x))
        return Reconstruction(layers[0].decode(x), code)


class FrameAutoencoder(hk.Module):
    """Frames of 84 x 84 by the Nature torso down to a code, and by dense and convolution back.

    The way back: dense to 7 x 7, each place repeated to 21 x 21, two 3 x 3 convolutions, and 4 x 4
    pixels out of each place's channels. No transposed convolution: it would leave a chequerboard.

    `beside_pca` puts both ways beside those of principal components, which stay as they are: the
    net starts as PCA (see `principal`) and learns what a linear code misses.
    """

    def __init__(self, code_size: int, *, beside_pca: bool = False, name: str | None = None):
        super().__init__(name=name)
        self._code_size = code_size
        self._beside_pca = beside_pca

    def __call__(self, frames: Array) -> Reconstruction:
        """uint8[B, 84, 84, K] -> pixels in 0..1 [B, 84, 84, K] and the code."""
        batch, height, width, channels = frames.shape
        if (height, width) != (84, 84):
            raise ValueError(f"the frame autoencoder takes [B, 84, 84, K], not {frames.shape}")
        features = NatureTorso(name="nature_torso")(frames)
        # Beside PCA both ways begin with nothing to add.
        init = jnp.zeros if self._beside_pca else None
        code = hk.Linear(self._code_size, w_init=init, name="code")(features)
        if self._beside_pca:
            size = frames[0].size
            basis = hk.get_parameter("basis", (size, self._code_size), init=jnp.zeros)
            linear = unit_scale(frames, jnp.float32) - self._background(frames.shape)
            code = code + linear.reshape(batch, -1) @ jax.lax.stop_gradient(basis)
        x = jax.nn.relu(hk.Linear(7 * 7 * 32, name="spread")(code)).reshape(batch, 7, 7, 32)
        x = jnp.repeat(jnp.repeat(x, 3, axis=1), 3, axis=2)
        x = jax.nn.relu(Conv2D(32, 3)(x))
        x = Conv2D(16 * channels, 3, w_init=init)(x).reshape(batch, 21, 21, 4, 4, channels)
        x = x.transpose(0, 1, 3, 2, 4, 5).reshape(frames.shape)
        if self._beside_pca:
            back = hk.get_parameter("basis_back", (self._code_size, size), init=jnp.zeros)
            x = x + (code @ jax.lax.stop_gradient(back)).reshape(frames.shape)
        return Reconstruction(x + self._background(frames.shape), code)

    def _background(self, shape: tuple[int, ...]) -> Array:
        background = hk.get_parameter("background", shape[1:], init=jnp.zeros)
        background = jax.lax.stop_gradient(background) if self._beside_pca else background
        return jnp.broadcast_to(background, shape)


def principal(params: Params, mean: np.ndarray, basis: np.ndarray, scale: np.ndarray) -> Params:
    """Parameters of a FrameAutoencoder `beside_pca` that then is PCA, its code of unit variance.

    Args:
      mean: [D] pixels in 0..1, with D = 84 * 84 * K.
      basis: [code, D], orthonormal rows.
      scale: [code], standard deviations along them.
    """
    (name,) = (module for module, own in params.items() if "basis" in own)
    own = {
        "background": jnp.asarray(mean).reshape(params[name]["background"].shape),
        "basis": jnp.asarray(basis.T / scale[None]),
        "basis_back": jnp.asarray(basis * scale[:, None]),
    }
    return {**params, name: own}


def squared_error(
    outputs: Reconstruction, x: Array, sparsity: float = 0.0
) -> tuple[Array, dict[str, Array]]:
    """Mean squared error per value, plus `sparsity` times the mean absolute code."""
    mse = jnp.square(outputs.x - x).mean()
    activity = jnp.abs(outputs.code).mean()
    return mse + sparsity * activity, {"mse": mse, "activity": activity}


def stack_pretrain(
    x: np.ndarray,
    sizes: Sequence[int],
    *,
    tied: bool = False,
    noise: float = 0.0,
    epochs: int = 20,
    batch_size: int = 32,
    learning_rate: float = 1e-3,
    seed: int = 0,
) -> Params:
    """Parameters of a DenseAutoencoder, one layer after the other (Bengio et al. 2006).

    Layer i learns to give back what layer i - 1 says, alone; whole nets are then fine-tuned.

    Args:
      x: float32[N, D]; the other arguments as in `DenseAutoencoder` and `fit`.
    """
    params: dict[str, dict[str, Array]] = {}
    for index, size in enumerate(sizes):
        net = hk.transform(
            lambda x, is_training, size=size: DenseAutoencoder(
                [size], tied=tied, noise=noise, name="dense_autoencoder"
            )(x, is_training)
        )

        def loss(
            params: Params, net_state: PyTree, key: Array, batch: Array, net: hk.Transformed = net
        ) -> tuple[Array, LossAux]:
            value, metrics = squared_error(net.apply(params, key, batch, True), batch)
            return value, LossAux(net_state, metrics)

        optimizer = optax.adam(learning_rate)
        start = net.init(jax.random.fold_in(jax.random.PRNGKey(seed), index), x[:2], True)
        state = train.init(start, {}, optimizer)
        fitted = fit.fit(
            state,
            train.make_update(loss, optimizer),
            x,
            epochs=epochs,
            batch_size=batch_size,
            seed=seed,
        )
        learnt = fitted.state.params
        params["dense_autoencoder/layer" + str(index)] = learnt["dense_autoencoder/layer0"]
        x = np.asarray(net.apply(learnt, None, x, False).code)
    return params
