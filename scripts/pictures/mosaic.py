"""Many small images side by side in one."""

import numpy as np


def mosaic(images: np.ndarray, columns: int, gap: int = 1) -> np.ndarray:
    """[N, H, W] -> one [rows * (H + gap) - gap, columns * (W + gap) - gap], nan between them."""
    number, height, width = images.shape
    columns = min(columns, number)
    rows = -(-number // columns)
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap), np.nan)
    for index, image in enumerate(images):
        top = index // columns * (height + gap)
        left = index % columns * (width + gap)
        sheet[top : top + height, left : left + width] = image
    return sheet
