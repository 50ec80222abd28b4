"""`python -m trainers CONFIG.yaml [--replicate R]`: train one run and print its numbers as JSON.

The file holds the `data:` and `train:` blocks of a spec, as YAML or JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError
from ruamel.yaml import YAML, YAMLError

from trainers.config import Config, ConfigError


def main(arguments: Sequence[str] | None = None) -> int:
    """One line of JSON a round on stdout; 2 for a configuration that cannot run."""
    parser = argparse.ArgumentParser(prog="python -m trainers", description=__doc__)
    parser.add_argument("config", type=Path, help="a file with data: and train: blocks")
    parser.add_argument("--replicate", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args(arguments)
    try:
        content = YAML(typ="safe", pure=True).load(given.config.read_text())
        return train(Config.model_validate(content), given.replicate, given.device)
    except (ConfigError, ValidationError, YAMLError, OSError) as error:
        print(f"{given.config}: {error}", file=sys.stderr)
        return 2


def train(config: Config, replicate: int, device: str) -> int:
    """Trains to the end, or to where the run diverges (3)."""
    from trainers.data import load
    from trainers.loop import Member, PackTrainer
    from trainers.metrics import METRICS, layout

    dataset = load(config.data)
    trainer = PackTrainer(dataset, [Member(config, replicate)], device=device)
    names = layout(dataset.classes)
    while trainer.round < trainer.rounds:
        (result,) = trainer.train_round()
        shown: dict[str, object] = {"round": result.round, "step": result.step}
        for (split, metric, target), number in zip(names, result.numbers.tolist(), strict=True):
            if metric in METRICS and not target:
                shown[f"{split}.{metric}"] = round(number, 4)
        print(json.dumps(shown), flush=True)
        if not result.finite:
            print(f"diverged in round {result.round}", file=sys.stderr)
            return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
