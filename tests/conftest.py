import jax

# A missing axis must be an error, not a silent outer product.
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_platforms", "cpu")
