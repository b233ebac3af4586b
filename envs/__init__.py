"""Games: Atari on ale-py's C++ vector environment, pure-JAX games, any discrete Gymnasium env."""
