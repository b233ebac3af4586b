"""Heat over a picture."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import AxesImage

DARKER = 2  # the picture beneath has 1 / this of its brightness


def overlay(axes: Axes, image: np.ndarray, heat: np.ndarray) -> AxesImage:
    """Draw heat float32[H, W] in 0..1 over a picture [H, W(, 3)]; return the heat's image.

    The heat is as opaque as it is large, and no part of its scale is dark: over a black picture
    a little of it is seen, and where there is none the picture is.
    """
    largest = max(float(image.max()), 1e-12)
    if image.ndim == 3:  # imshow scales grey pictures only
        image = image / (DARKER * largest)
    axes.imshow(image, cmap="gray", vmin=0, vmax=DARKER * largest)
    axes.set_axis_off()
    return axes.imshow(heat, cmap="autumn", alpha=heat, vmin=0, vmax=1)
