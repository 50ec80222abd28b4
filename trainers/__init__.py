"""A PyTorch trainer for imbalanced data that trains K networks as one; usable without Sweeper."""

# Of the numerics: another version trains another network, so a sweep makes new cells for it.
VERSION = "3"
