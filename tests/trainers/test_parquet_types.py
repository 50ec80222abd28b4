"""Parquet's many types for text and bytes: whoever wrote the file, the rows are the same."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trainers.data import SPLITS, load
from trainers.data_config import DataConfig

CLASSES = ["hare", "lynx", "owl"] * 20
COAT = ["grey", "white", "", "brown"] * 15
WEIGHT = np.linspace(1, 9, 60)

TEXTS = {
    "string": pa.string(),
    "large_string": pa.large_string(),
    "string_view": pa.string_view(),
    "dictionary": pa.dictionary(pa.int32(), pa.string()),
    "dictionary of large_string": pa.dictionary(pa.int32(), pa.large_string()),
}


@pytest.mark.parametrize("kind", TEXTS)
def test_text_of_any_type_is_read_as_text(tmp_path, kind):
    """Polars writes views and others large types; feature, class and fingerprint are the same."""
    found = []
    for name in ("string", kind):
        path = tmp_path / f"{name.replace(' ', '-')}.parquet"
        text = TEXTS[name]
        pq.write_table(
            pa.table(
                {
                    "coat": pa.array(COAT).cast(text),
                    "weight": WEIGHT,
                    "animal": pa.array(CLASSES).cast(text),
                }
            ),
            path,
        )
        found.append(load(DataConfig(dataset="table", path=str(path), target="animal")))
    assert found[0].fingerprint == found[1].fingerprint
    assert found[1].classes == ("hare", "lynx", "owl")
    assert found[1].cardinalities == (4,)


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.binary_view()])
def test_bytes_of_any_type_are_read_as_images(tmp_path, image_bytes, kind):
    """A column of image files may be of each of Arrow's types for bytes."""
    images = [image_bytes(np.full((4, 4), at, dtype=np.uint8)) for at in range(60)]
    path = tmp_path / "images.parquet"
    table = pa.table({"image": pa.array(images, kind), "label": CLASSES})
    pq.write_table(table, path)
    assert pq.read_schema(path).field("image").type == kind
    dataset = load(DataConfig(dataset="images", path=str(path)))
    assert sorted(np.concatenate([dataset.x[s][:, 0, 0, 0] for s in SPLITS])) == list(range(60))
