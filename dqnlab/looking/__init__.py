"""Looking inside a trained net: what its layers answer, and which inputs they answer to.

Pure functions of a net's own forward pass. Nothing here draws, or knows a game.
"""
