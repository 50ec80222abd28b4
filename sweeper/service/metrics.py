"""Metrics in the text format of Prometheus; the database is looked at once in five seconds at most.

No name of a sweep is a label: the number of series must not grow with the sweeps.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from sweeper.store.database import Database
from sweeper.store.service_figures import ServiceFigures, figures

KEPT_S = 5.0  # an answer serves all who ask so soon after it was made
WAITS_S = (1.0, 10.0, 60.0, 300.0, 1800.0, 7200.0, 28800.0, 86400.0, 259200.0)


@dataclass
class MetricsPage:
    """The page of metrics; threads may share it.

    Attributes:
        pages: the readers of live pages, and the age in seconds of the oldest look of theirs.
    """

    database: Database
    pages: Callable[[], tuple[int, float]] = lambda: (0, 0.0)
    clock: Callable[[], float] = time.monotonic
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _text: str = ""
    _made_at: float = float("-inf")

    def text(self) -> str:
        """The metrics of now, or of five seconds ago.

        Raises:
            SweeperError: the database does not answer.
        """
        with self._lock:
            if self.clock() - self._made_at >= KEPT_S:
                found = figures(self.database, bounds=WAITS_S)
                self._text = written([*_queue(found), *_work(found), *_pages(self.pages())])
                self._made_at = self.clock()
            return self._text


def written(families: list[Metric]) -> str:
    """The metrics as text."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Families(families))
    return generate_latest(registry).decode()


@dataclass(eq=False)
class _Families(Collector):
    families: list[Metric]

    def collect(self) -> list[Metric]:
        return self.families


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"sweeper_{name}", text, value=value)


def _gauges(
    name: str, text: str, labels: list[str], values: Mapping[tuple[str, ...], float]
) -> Metric:
    family = GaugeMetricFamily(f"sweeper_{name}", text, labels=labels)
    for key, value in sorted(values.items()):
        family.add_metric(list(key), value)
    return family


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"sweeper_{name}", text, value=value)


def _counters(name: str, text: str, label: str, values: dict[str, float]) -> Metric:
    family = CounterMetricFamily(f"sweeper_{name}", text, labels=[label])
    for key, value in sorted(values.items()):
        family.add_metric([key], value)
    return family


def _queue(found: ServiceFigures) -> Iterator[Metric]:
    yield _gauges(
        "submissions", "Submitted sweeps, by state and priority class.", ["state", "priority"],
        dict(found.submissions),
    )  # fmt: skip
    yield _gauges(
        "longest_wait_seconds", "Age of the oldest queued sweep, by priority class.", ["priority"],
        {(word,): seconds for word, seconds in found.longest_wait_s.items()},
    )  # fmt: skip
    counts, number, total = found.waits
    buckets = [(str(bound), float(n)) for bound, n in zip(WAITS_S, counts, strict=True)]
    yield HistogramMetricFamily(
        "sweeper_wait_seconds", "From submission to the first start of a driver.",
        buckets=[*buckets, ("+Inf", float(number))], sum_value=total,
    )  # fmt: skip
    yield _gauge("supervisor_leads", "1 if a supervisor leads.", float(found.leads))
    if found.beat_age_s is not None:
        yield _gauge("supervisor_beat_age_seconds", "Since its last beat.", found.beat_age_s)
    yield _counter("driver_starts", "Drivers that were started.", found.driver_starts)
    ends = {code: float(number) for code, number in found.driver_ends.items()}
    yield _counters("driver_ends", "Drivers that have ended, by exit code.", "code", ends)
    yield _gauges(
        "messages", "Messages about sweeps, by what has become of them.", ["outcome"],
        {(word,): float(number) for word, number in found.messages.items()},
    )  # fmt: skip


def _work(found: ServiceFigures) -> Iterator[Metric]:
    yield _gauge("workers_granted", "Workers that running sweeps may have.", found.workers)
    yield _gauge("workers_busy", "Packs in the hands of drivers that are alive.", found.busy)
    if found.room is not None:
        cpus, gpus = found.room
        yield _gauge("cpus", "Processors to hand out.", cpus)
        yield _gauge("gpus", "GPUs to hand out.", gpus)
    yield _counter("rounds", "Rounds that runs have recorded.", found.rounds)
    runs = {(state,): float(number) for state, number in found.runs.items()}
    yield _gauges("runs", "Runs, by state.", ["state"], runs)
    failures = {reason: float(number) for reason, number in found.failures.items()}
    yield _counters("failures", "Attempts at runs that failed, by reason.", "reason", failures)
    hours = {owner: seconds for owner, (seconds, _) in found.usage.items()}
    text = "Worker seconds, or GPU seconds, that an owner has used."
    yield _counters("usage_seconds", text, "owner", hours)
    money = {owner: spent for owner, (_, spent) in found.usage.items()}
    yield _counters("spent", "Their cost, at the server's price.", "owner", money)


def _pages(load: tuple[int, float]) -> Iterator[Metric]:
    readers, lag_s = load
    yield _gauge("page_readers", "Open streams of live pages.", readers)
    yield _gauge("page_lag_seconds", "Age of the oldest look that a reader is shown.", lag_s)
