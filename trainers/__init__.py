"""A PyTorch trainer for imbalanced data that trains K networks as one; usable without Sweeper."""
