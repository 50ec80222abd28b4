"""The topics of the report, in the order of the page."""

from __future__ import annotations

from collections.abc import Iterator

from sweeper.analysis.view import SweepView
from sweeper.drawing.figure import Section
from sweeper.topics.anova import section as anova
from sweeper.topics.base import Topic
from sweeper.topics.best_levels import section as best_levels
from sweeper.topics.cells import section as cells
from sweeper.topics.critical_batch_size import section as critical_batch_size
from sweeper.topics.differences import section as differences
from sweeper.topics.failures import section as failures
from sweeper.topics.fairness import section as fairness
from sweeper.topics.goals import section as goals
from sweeper.topics.importance import section as importance
from sweeper.topics.missed_batches import section as missed_batches
from sweeper.topics.observed import section as observed
from sweeper.topics.per_class import section as per_class
from sweeper.topics.prediction_changes import section as prediction_changes
from sweeper.topics.response import section as response
from sweeper.topics.scatter import section as scatter
from sweeper.topics.screening import section as screening
from sweeper.topics.tradeoff import section as tradeoff
from sweeper.topics.training_curves import section as training_curves
from sweeper.topics.trends import section as trends
from sweeper.topics.tuning_curve import section as tuning_curve
from sweeper.topics.variance_sources import section as variance_sources

TOPICS: tuple[Topic, ...] = (
    screening.TOPIC,
    response.TOPIC,
    tuning_curve.TOPIC,
    scatter.TOPIC,
    differences.TOPIC,
    best_levels.TOPIC,
    goals.TOPIC,
    per_class.TOPIC,
    tradeoff.TOPIC,
    training_curves.TOPIC,
    variance_sources.TOPIC,
    observed.TOPIC,
    missed_batches.TOPIC,
    prediction_changes.TOPIC,
    trends.TOPIC,
    anova.TOPIC,
    importance.TOPIC,
    fairness.TOPIC,
    critical_batch_size.TOPIC,
    cells.TOPIC,
    failures.TOPIC,
)


def topics(view: SweepView) -> Iterator[Topic]:
    """The topics that can say something of this sweep by now."""
    return (one for one in TOPICS if one.early or not view.early)


def sections(view: SweepView) -> list[tuple[Topic, Section]]:
    """The topics that have something to show, with their sections."""
    built = ((one, one.section(view)) for one in topics(view))
    return [(one, section) for one, section in built if section is not None]
