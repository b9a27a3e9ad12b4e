from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from train.data.pictures import read
from train.errors import TrainError

RED = (200, 10, 30)


def sixteen_bits(value):
    return Image.fromarray(np.full((4, 4), value, np.uint16))


def palette(**keys):
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, *RED])
    image.info |= keys
    return image


KINDS = {
    "RGB": (Image.new("RGB", (4, 4), RED), RED),
    "grey": (Image.new("L", (4, 4), 77), (77,) * 3),
    "one bit": (Image.new("1", (4, 4), 1), (255,) * 3),
    "palette": (palette(), RED),
    "palette, transparent colour": (palette(transparency=1), (255,) * 3),
    "palette, transparent in part": (palette(transparency=bytes([255, 0])), (255,) * 3),
    "alpha": (Image.new("RGBA", (4, 4), (*RED, 0)), (255,) * 3),
    "half alpha": (Image.new("RGBA", (4, 4), (0, 0, 0, 128)), (127,) * 3),
    "grey with alpha": (Image.new("LA", (4, 4), (9, 255)), (9,) * 3),
    "16 bits": (sixteen_bits(77 * 257), (77,) * 3),
    "16 bits, white": (sixteen_bits(65535), (255,) * 3),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_becomes_rgb(tmp_path, kind):
    image, wanted = KINDS[kind]
    image.save(tmp_path / "it.png", **{k: v for k, v in image.info.items() if k == "transparency"})
    found = read(tmp_path / "it.png")
    assert found.mode == "RGB"
    assert found.getpixel((1, 1)) == wanted


def test_cmyk_becomes_rgb(tmp_path):
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "it.jpg", quality=95)
    red, green, blue = read(tmp_path / "it.jpg").getpixel((4, 4))
    assert red > 230
    assert max(green, blue) < 40


def test_a_photograph_is_turned_as_its_camera_was_held(tmp_path):
    image = Image.new("RGB", (6, 4), "black")
    image.putpixel((0, 0), (255, 255, 255))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    image.save(tmp_path / "it.png", exif=exif)
    turned = read(tmp_path / "it.png")
    assert turned.size == (4, 6)
    assert turned.getpixel((3, 0)) == (255, 255, 255)


UNREADABLE = {
    "empty": (b"", "it is empty, 0 bytes"),
    "text": (b"no image", "cannot identify"),
    "cut": (None, "truncated"),
    "32 bits": ("F", "32 bits"),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_a_file_that_is_no_image_is_named(tmp_path, case):
    content, said = UNREADABLE[case]
    path = tmp_path / "it.tif"
    if content == "F":
        Image.new("F", (4, 4), 0.5).save(path)
    elif content is None:
        Image.effect_noise((64, 64), 50).save(path, format="png")
        path.write_bytes(path.read_bytes()[:600])
    else:
        path.write_bytes(content)
    with pytest.raises(
        TrainError, match=rf"^data.path: '.*it.tif' cannot be read as an image \(.*{said}.*\); repair or"
    ):
        read(path)
