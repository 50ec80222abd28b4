"""What the trainer's tests share."""

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def real_data() -> Path:
    """The folder of real data sets that the variable SWEEPER_DATA names."""
    if "SWEEPER_DATA" not in os.environ:
        pytest.skip("SWEEPER_DATA does not name the folder of the real data sets")
    return Path(os.environ["SWEEPER_DATA"])


@pytest.fixture
def image_bytes() -> Callable[..., bytes]:
    """Makes the bytes of an image file: `image_bytes(pixels, form="PNG")`."""

    def encode(pixels: np.ndarray, form: str = "PNG", **options: Any) -> bytes:
        out = io.BytesIO()
        Image.fromarray(pixels).save(out, form, **options)
        return out.getvalue()

    return encode
