"""Figures of decoded pictures, and their perceptual hashes."""

import io

import numpy as np

HASH_SIDE = 8  # the hash has HASH_SIDE^2 bits: imagehash's default


def picture_figures(png: bytes) -> tuple[dict[str, float], np.ndarray]:
    """Figures of one picture, and its perceptual hash.

    Args:
        png: the file's bytes.

    Returns:
        pixel_std: standard deviation of the brightness of its pixels and channels, 0 to 1 being full scale.
        roughness: neighbours' mean squared difference over that of pixels drawn at random, 0 smooth, 1 white noise
            (von Neumann 1941, Distribution of the ratio of the mean square successive difference to the variance);
            NaN for a picture of one colour.
        The hash, (HASH_SIDE^2,) bool.
    """
    import imagehash
    from PIL import Image

    with Image.open(io.BytesIO(png)) as opened:
        picture = opened.convert("RGB")
    pixels = np.asarray(picture, dtype=np.float64)  # (H, W, 3), 0 to 255
    figures = {"pixel_std": float(pixels.std() / 255), "roughness": _roughness(pixels)}
    return figures, imagehash.phash(picture, hash_size=HASH_SIDE).hash.reshape(-1)


def _roughness(pixels: np.ndarray) -> float:
    """E[(x - neighbour)^2] / (2 var x) over both directions, each channel about its own mean."""
    variance = pixels.var(axis=(0, 1)).sum()
    steps = [np.diff(pixels, axis=axis) for axis in (0, 1) if pixels.shape[axis] > 1]
    if variance == 0 or not steps:
        return float("nan")
    squared = sum((step**2).sum() for step in steps) / sum(step.size // 3 for step in steps)
    return float(squared / (2 * variance))
