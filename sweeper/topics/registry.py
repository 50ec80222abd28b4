"""The topics of the report, in the order of the page.

A topic is a folder: `estimate.py` computes (`build(view)`), `text.py` puts it in words, and
`section.py` draws it (`section(view)`). It has a line in TOPICS.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from sweeper.analysis.view import SweepView
from sweeper.drawing.figure import Section
from sweeper.topics.anova import estimate as anova
from sweeper.topics.anova import section as anova_section
from sweeper.topics.best_levels import estimate as best_levels
from sweeper.topics.best_levels import section as best_levels_section
from sweeper.topics.cells import estimate as cells
from sweeper.topics.cells import section as cells_section
from sweeper.topics.critical_batch_size import estimate as critical_batch_size
from sweeper.topics.critical_batch_size import section as critical_batch_size_section
from sweeper.topics.differences import estimate as differences
from sweeper.topics.differences import section as differences_section
from sweeper.topics.failures import section as failures_section
from sweeper.topics.fairness import estimate as fairness
from sweeper.topics.fairness import section as fairness_section
from sweeper.topics.importance import estimate as importance
from sweeper.topics.importance import section as importance_section
from sweeper.topics.missed_batches import estimate as missed_batches
from sweeper.topics.missed_batches import section as missed_batches_section
from sweeper.topics.per_class import estimate as per_class
from sweeper.topics.per_class import section as per_class_section
from sweeper.topics.prediction_changes import estimate as prediction_changes
from sweeper.topics.prediction_changes import section as prediction_changes_section
from sweeper.topics.response import section as response_section
from sweeper.topics.scatter import section as scatter_section
from sweeper.topics.screening import estimate as screening
from sweeper.topics.screening import section as screening_section
from sweeper.topics.tradeoff import estimate as tradeoff
from sweeper.topics.tradeoff import section as tradeoff_section
from sweeper.topics.training_curves import section as training_curves_section
from sweeper.topics.trends import estimate as trends
from sweeper.topics.trends import section as trends_section
from sweeper.topics.variance_sources import estimate as variance_sources
from sweeper.topics.variance_sources import section as variance_sources_section

Export = tuple[Callable[[SweepView], Any], Callable[[Any], "pd.DataFrame | list[dict[str, Any]]"]]


@dataclass(frozen=True)
class Topic:
    """One topic of the report.

    Attributes:
        short: its name in the list of contents, where the title is too long.
        section: its part of the page; None where there is nothing to show.
        tables: name of an exported table -> what is built for it, and its rows.
    """

    section: Callable[[SweepView], Section | None]
    short: str = ""
    tables: Mapping[str, Export] = field(default_factory=dict)


def sections(view: SweepView) -> list[tuple[Topic, Section]]:
    """The topics that have something to show, with their sections."""
    built = ((one, one.section(view)) for one in TOPICS)
    return [(one, section) for one, section in built if section is not None]


TOPICS: tuple[Topic, ...] = (
    Topic(screening_section.section, "Screening", {"screening": (screening.build, screening.rows)}),
    Topic(response_section.section, "Response"),
    Topic(
        differences_section.section,
        "Differences",
        {"differences": (differences.build, differences.rows)},
    ),
    Topic(
        best_levels_section.section, "Best levels", {"best": (best_levels.build, best_levels.rows)}
    ),
    Topic(per_class_section.section, "Classes", {"classes": (per_class.build, per_class.rows)}),
    Topic(tradeoff_section.section, "Exchange", {"exchange": (tradeoff.build, tradeoff.rows)}),
    Topic(
        variance_sources_section.section,
        "Error bars",
        {"anatomy": (variance_sources.build, variance_sources.rows)},
    ),
    Topic(
        missed_batches_section.section,
        "Batches",
        {"absence": (missed_batches.build, missed_batches.rows)},
    ),
    Topic(
        prediction_changes_section.section,
        "Examples",
        {"examples": (prediction_changes.build, prediction_changes.rows)},
    ),
    Topic(training_curves_section.section, "Training"),
    Topic(trends_section.section, "Trends", {"slopes": (trends.build, trends.rows)}),
    Topic(anova_section.section, "Factors", {"anova": (anova.build, anova.rows)}),
    Topic(
        importance_section.section, "Factors", {"importance": (importance.build, importance.rows)}
    ),
    Topic(
        fairness_section.section,
        "Fairness",
        {
            "tuning": (fairness.build, fairness.rows),
            "fairness": (fairness.build, fairness.claim_rows),
        },
    ),
    Topic(
        critical_batch_size_section.section,
        "Steps",
        {"steps": (critical_batch_size.build, critical_batch_size.rows)},
    ),
    Topic(scatter_section.section, "By factor"),
    Topic(cells_section.section, tables={"summary": (cells.build, lambda table: table)}),
    Topic(failures_section.section, "Failures"),
)
