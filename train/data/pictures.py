"""Image files of any kind as RGB of 8 bits, the way up that they are meant to be seen."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from train.errors import TrainError

# What Pillow raises depends on the format.
UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)


def read(path: Path) -> Image.Image:
    """The image, see `as_rgb`. Raises TrainError naming the file if it is none, or empty, or damaged."""
    try:
        with Image.open(path) as image:
            return as_rgb(image)
    except UNREADABLE as error:
        empty = path.is_file() and path.stat().st_size == 0
        reason = "it is empty, 0 bytes" if empty else error
        raise TrainError(f"data.path: '{path}' cannot be read as an image ({reason}); repair or remove it") from error


def as_rgb(image: Image.Image) -> Image.Image:
    """Turned as its EXIF tag says, 16 bits scaled to 8, white behind what is transparent; of several frames the first.

    Raises ValueError for pixels of 32 bits, whose range nothing tells.
    """
    # PNG has at most 16 bits; older Pillow calls them 32.
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        values = np.asarray(image).astype(np.uint32)
        eight_bits = Image.fromarray(((values + 128) // 257).astype(np.uint8))
        eight_bits.info["exif"] = image.info.get("exif", b"")
        return as_rgb(eight_bits)
    if image.mode in ("I", "F"):
        raise ValueError("its pixels have 32 bits: save it with 8 or 16 bits a channel")
    upright = ImageOps.exif_transpose(image)
    if upright.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in upright.info:
        over = upright.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", over.size, "white"), over).convert("RGB")
    return upright.convert("RGB")
