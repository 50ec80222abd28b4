"""Trains K networks as one, for imbalanced data, with PyTorch; usable without Sweeper."""

# The version of the numerics. A new version trains other networks, so sweeps make new cells.
VERSION = "3"
