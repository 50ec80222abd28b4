"""Images of other sizes and modes: the rule by which they become pixels, and the cache of those."""

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainers import cache
from trainers.config import ConfigError
from trainers.data import SPLITS, encoded, load, pixels
from trainers.data.folder import OnDisk
from trainers.data_config import DataConfig

RNG = np.random.default_rng(9)


def refuse(reason: str) -> ConfigError:
    return ConfigError("data.path", "x", reason)


def _decoded(content: bytes, size=None) -> np.ndarray:
    form = pixels.form(content, refuse)
    array = pixels.decode(content, size, refuse, colour=form.colour)
    if size is None:
        assert array.shape[:2] == (form.height, form.width)
    return array


def _saved(image: Image.Image, form="PNG", **options) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch) -> Path:
    """A cache of the test's own."""
    monkeypatch.setenv("SWEEPER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


# The rule.


def _triangle(length: int, side: int, size: int) -> np.ndarray:
    """(size, length): weights of a triangle filter as wide as the reduction, over the middle."""
    scale, first = side / size, (length - side) // 2
    reach = max(scale, 1.0)
    weights = np.zeros((size, length))
    for out in range(size):
        for at in range(length):
            distance = abs((at + 0.5) - first - (out + 0.5) * scale) / reach
            weights[out, at] = max(0.0, 1.0 - distance)
    return weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("shape", [(24, 24), (24, 40), (41, 24), (7, 5), (16, 16)])
def test_the_middle_square_is_reduced_by_a_triangle_filter(shape):
    """Against the filter written out: within a grey level, as Pillow rounds twice."""
    image = RNG.integers(0, 256, shape, dtype=np.uint8)
    down, across = (_triangle(length, min(shape), 16) for length in shape)
    expected = down @ image @ across.T
    found = _decoded(_saved(Image.fromarray(image)), 16)
    assert np.abs(found - expected).max() <= 1.01


def test_an_image_of_the_size_is_left_as_it_is():
    """Nothing is lost where nothing is to be done."""
    image = RNG.integers(0, 256, (16, 16, 3), dtype=np.uint8)
    assert np.array_equal(_decoded(_saved(Image.fromarray(image)), 16), image)


def test_a_fine_pattern_does_not_alias():
    """A chessboard of single pixels becomes even grey, not a coarser pattern."""
    board = (np.indices((240, 240)).sum(axis=0) % 2 * 255).astype(np.uint8)
    found = _decoded(_saved(Image.fromarray(board)), 30)
    assert np.abs(found.astype(int) - 127.5).max() <= 4


def test_a_large_jpeg_decoded_at_a_part_looks_the_same():
    """Decoding at a half or less is a shortcut: on average within two grey levels of the whole."""
    y, x = np.mgrid[0:800, 0:1000]
    smooth = np.stack([127 + 100 * np.sin(x / 90), 127 + 100 * np.cos(y / 70), x / 4], axis=2)
    image = Image.fromarray(smooth.astype(np.uint8))
    whole = _decoded(_saved(image), 64).astype(int)
    part = _decoded(_saved(image, "JPEG", quality=95), 64).astype(int)
    assert np.abs(whole - part).mean() < 2


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("size", [None, 8])
def test_exif_orientation_is_applied(turn, size):
    """As a viewer shows it: the same scene stored in eight ways gives the same pixels."""
    scene = np.zeros((16, 32, 3), dtype=np.uint8)
    scene[:8, 8:16], scene[8:, 16:24] = (255, 0, 0), (0, 255, 0)
    steps = {
        1: scene, 2: scene[:, ::-1], 3: scene[::-1, ::-1], 4: scene[::-1],
        5: scene.transpose(1, 0, 2), 6: scene.transpose(1, 0, 2)[::-1],
        7: scene.transpose(1, 0, 2)[::-1, ::-1], 8: scene.transpose(1, 0, 2)[:, ::-1],
    }  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = turn
    stored = Image.fromarray(np.ascontiguousarray(steps[turn]))
    options = {"quality": 100, "subsampling": 0, "exif": exif}
    found = _decoded(_saved(stored, "JPEG", **options), size).astype(int)
    expected = _decoded(_saved(Image.fromarray(scene)), size).astype(int)
    assert np.abs(found - expected).max() < 12


GREY = Image.fromarray(RNG.integers(0, 256, (6, 6), dtype=np.uint8))
COLOUR = Image.fromarray(RNG.integers(0, 256, (6, 6, 3), dtype=np.uint8))


def _half_clear() -> Image.Image:
    image = COLOUR.convert("RGBA")
    image.paste((1, 2, 3, 0), (0, 0, 3, 6))
    return image


def _on_white() -> np.ndarray:
    expected = np.array(COLOUR)
    expected[:, :3] = 255
    return expected


PALETTE = COLOUR.quantize(64)
MODES = {
    "grey": (GREY, np.array(GREY)),
    "bilevel": (GREY.convert("1"), np.array(GREY.convert("1")) * 255),
    "grey with alpha": (Image.merge("LA", [GREY, Image.new("L", (6, 6), 0)]), np.full((6, 6), 255)),
    "colour": (COLOUR, np.array(COLOUR)),
    "alpha": (_half_clear(), _on_white()),
    "palette": (PALETTE, np.array(COLOUR)),
}


@pytest.mark.parametrize("mode", MODES)
def test_modes_become_grey_or_rgb(mode):
    """Grey stays grey, a palette is looked up, and what is transparent lies on white."""
    image, expected = MODES[mode]
    assert np.array_equal(_decoded(_saved(image)), expected)


def test_cmyk_becomes_rgb():
    """A JPEG of a print shop is what a viewer shows."""
    flat = Image.new("RGB", (16, 16), (200, 40, 90))
    found = _decoded(_saved(flat.convert("CMYK"), "JPEG", quality=100))
    assert np.abs(found.astype(int) - (200, 40, 90)).max() < 8


def test_sixteen_bits_are_refused_by_name():
    """How 16 bits become 8 decides what is seen: no default is right."""
    content = _saved(Image.fromarray(RNG.integers(0, 60_000, (6, 6)).astype(np.uint16)))
    with pytest.raises(ConfigError, match=r"mode I;16, more than 8 bits a channel .*8 bits"):
        pixels.form(content, refuse)


@pytest.mark.parametrize(
    ("size", "form", "reason"),
    [
        (
            None,
            pixels.ImageShape(1025, 4, False),
            "has 4 x 1025 pixels, at most 1024 a side: set data.",
        ),
        (None, pixels.ImageShape(1024, 1024, True), None),
        (64, pixels.ImageShape(10_000, 10_000, True), None),
        (64, pixels.ImageShape(10_000, 10_001, True), "at most 100,000,000 are decoded"),
    ],
)
def test_large_images_need_a_size_and_bombs_are_refused(size, form, reason):
    """Without `data.size` the limit is 1024 a side; with it, 100 million pixels."""
    if reason is None:
        pixels.check_pixels(form, size, refuse)
    else:
        with pytest.raises(ConfigError, match=reason):
            pixels.check_pixels(form, size, refuse)


def test_a_thread_of_a_bomb_needs_no_memory(image_bytes):
    """An image of one row is not made as wide as its resized height would ask for."""
    found = _decoded(image_bytes(np.zeros((1, 60_000), dtype=np.uint8)), 64)
    assert found.shape == (64, 64)


# Data sets of several sizes.


def _photos(root: Path, count=24, *, seed=1, form="JPEG") -> Path:
    """Class folders with images of several sizes; each has a colour of its class."""
    rng = np.random.default_rng(seed)
    for row in range(count):
        folder = root / "ab"[row % 2]
        folder.mkdir(parents=True, exist_ok=True)
        height, width = rng.integers(20, 70, 2)
        noise = rng.integers(0, 40, (height, width, 3))
        image = (noise + np.array([150, 20, 20] if row % 2 else [20, 150, 20])).astype(np.uint8)
        Image.fromarray(image).save(folder / f"{row}.jpg", form)
    return root


def _config(root: Path, **fields) -> DataConfig:
    return DataConfig(dataset="folder", path=str(root), **fields)


def test_images_of_several_sizes_become_one_size(tmp_path):
    """Each image is cut and reduced by itself; every one of them is there once."""
    root = _photos(tmp_path / "f")
    dataset = load(_config(root, size=16))
    assert dataset.facts["shape"] == [3, 16, 16]
    expected = sorted(
        _decoded(path.read_bytes(), 16).transpose(2, 0, 1).tobytes() for path in root.glob("*/*")
    )
    assert sorted(image.tobytes() for s in SPLITS for image in dataset.x[s]) == expected


def test_grey_among_colours_gets_three_channels(tmp_path):
    """Where all images are grey there is one channel."""
    root = _photos(tmp_path / "f")
    Image.open(root / "a/0.jpg").convert("L").save(root / "a/0.jpg")
    assert load(_config(root, size=16)).facts["shape"] == [3, 16, 16]
    for path in root.glob("*/*"):
        Image.open(path).convert("L").save(path)
    assert load(_config(root, size=16)).facts["shape"] == [1, 16, 16]


# The cache.


def _entries(folder: Path) -> list[Path]:
    return sorted((folder / cache.IMAGES).glob("*.npy"))


def test_resized_images_are_made_once(tmp_path, own_cache, monkeypatch):
    """The second time nothing is decoded, and the data are the same to the bit."""
    root = _photos(tmp_path / "f")
    first = load(_config(root, size=16))
    assert len(_entries(own_cache)) == 1
    monkeypatch.setattr(pixels, "decode", None)
    again = load(_config(root, size=16))
    assert again.fingerprint == first.fingerprint
    assert all(np.array_equal(again.x[split], first.x[split]) for split in SPLITS)


def test_without_a_size_nothing_is_kept(tmp_path, own_cache):
    """What is not resized is decoded anew: the cache is for what takes long."""
    root = _photos(tmp_path / "f")
    for path in root.glob("*/*"):
        Image.open(path).resize((8, 8)).save(path)
    load(_config(root))
    assert not own_cache.exists()


def test_other_content_is_never_served_from_the_cache(tmp_path):
    """Same names, sizes in bytes and times: the pixels are those of the files as they are."""
    root = _photos(tmp_path / "f", form="BMP")
    load(_config(root, size=16))
    for path in root.glob("*/*"):
        found, image = path.stat(), np.array(Image.open(path))
        Image.fromarray(255 - image).save(path, "BMP")
        os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
        assert path.stat().st_size == found.st_size
    dataset = load(_config(root, size=16))
    expected = {_decoded(p.read_bytes(), 16).transpose(2, 0, 1).tobytes() for p in root.glob("*/*")}
    assert {image.tobytes() for s in SPLITS for image in dataset.x[s]} == expected


@pytest.mark.parametrize("change", ["size", "rule", "decoder", "colour"])
def test_the_name_in_the_cache_is_of_all_that_decides_the_pixels(
    tmp_path, own_cache, monkeypatch, change
):
    """Another size, rule, decoder or number of channels is another entry."""
    root = _photos(tmp_path / "f")
    files = OnDisk(root, [f"{'ab'[row % 2]}/{row}.jpg" for row in range(24)], refuse)
    seen, rows = encoded.scan(files), np.arange(24)
    encoded.decode(files, seen, rows, 16, colour=True)
    if change == "rule":
        monkeypatch.setattr(pixels, "RULE", pixels.RULE + 1)
    elif change == "decoder":
        monkeypatch.setattr(pixels, "DECODERS", ["another"])
    size = 8 if change == "size" else 16
    encoded.decode(files, seen, rows, size, colour=change != "colour")
    assert len(_entries(own_cache)) == 2


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "another shape", "objects"])
def test_a_damaged_entry_is_made_anew(tmp_path, own_cache, damage):
    """Whatever lies there: it is replaced, and never unpickled."""
    root = _photos(tmp_path / "f")
    first = load(_config(root, size=16)).fingerprint
    (entry,) = _entries(own_cache)
    whole = entry.read_bytes()
    if damage == "another shape":
        np.save(entry, np.zeros((3, 16, 16, 3), dtype=np.uint8))
    elif damage == "objects":
        np.save(entry, np.array([{}], dtype=object), allow_pickle=True)
    else:
        content = {"cut": whole[:-9], "empty": b"", "text": b"nothing"}[damage]
        entry.write_bytes(content)
    assert load(_config(root, size=16)).fingerprint == first
    assert entry.read_bytes() == whole


def test_a_cache_that_cannot_be_written_costs_time_only(tmp_path, monkeypatch):
    """A file stands where the folder would be."""
    (tmp_path / "taken").write_bytes(b"")
    root = _photos(tmp_path / "f")
    expected = load(_config(root, size=16)).fingerprint
    monkeypatch.setenv("SWEEPER_CACHE", str(tmp_path / "taken"))
    assert load(_config(root, size=16)).fingerprint == expected


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path):
    """Its pixels would be kept under the hash of another content."""
    root = _photos(tmp_path / "f")
    files = OnDisk(root, ["a/0.jpg", "b/1.jpg"], refuse)
    seen = encoded.scan(files)
    (root / "b/1.jpg").write_bytes((root / "a/0.jpg").read_bytes())
    with pytest.raises(ConfigError, match=r"'b/1\.jpg', that has changed while it was read"):
        encoded.decode(files, seen, np.arange(2), 16, colour=True)


SCRIPT = """
import sys
from trainers.data_config import DataConfig
from trainers.data import load
print(load(DataConfig(dataset="folder", path=sys.argv[1], size=16)).fingerprint)
"""


def test_two_processes_at_once_make_one_entry(tmp_path, own_cache):
    """Both have the same data, the entry is whole, and nothing is left beside it but the lock."""
    root = _photos(tmp_path / "f", 80)
    command = [sys.executable, "-c", SCRIPT, str(root)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = {process.communicate()[0] for process in both}
    assert [process.returncode for process in both] == [0, 0]
    assert outputs == {load(_config(root, size=16)).fingerprint + "\n"}
    left = sorted(path.suffix for path in (own_cache / cache.IMAGES).iterdir())
    assert left == [".lock", ".npy"]


def test_files_are_not_all_in_memory_at_once(tmp_path):
    """However many there are, only a few are read before the first ones are done with."""
    held, most = 0, 0

    class Counted(OnDisk):
        def read(self, row: int) -> bytes:
            nonlocal held, most
            held += 1
            return super().read(row)

    root = _photos(tmp_path / "f", 4)
    files = Counted(root, [f"{'ab'[row % 2]}/{row % 4}.jpg" for row in range(400)], refuse)
    for _ in encoded._threads(files.read, range(400)):
        most = max(most, held)
        held -= 1
    assert most <= 5 * encoded.MOST_THREADS
