"""Games: Atari on ale-py's C++ vector environment, pure-JAX games, any discrete Gymnasium env."""

from envs.make import find, find_protocol, make
from envs.protocols import PROTOCOLS, Protocol

__all__ = ["PROTOCOLS", "Protocol", "find", "find_protocol", "make"]
