"""The metrics of the service: what is counted, who may read it, how often the database is asked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from asking import ask
from prometheus_client.parser import text_string_to_metric_families
from sites import Site
from store_samples import HOLDER, planned

from sweeper.service.metrics import MetricsPage
from sweeper.service.routes import METRICS
from sweeper.states import Ending
from sweeper.store.leading import Leading
from sweeper.store.service_records import Grant, State, Submission, SubmissionStanding


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    found = Site(tmp_path)
    found.desk._metrics = MetricsPage(found.store.database, lambda: (3, 1.5)).text
    yield found
    found.store.close()


def scraped(text: str) -> dict[str, float]:
    """Each sample by its name with its labels, as Prometheus itself reads them."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def submitted(site: Site, name: str, priority: str = "normal") -> Submission:
    assert site.submit(name=name, priority=priority).status == 200
    one = site.wishes.submission(name)
    assert one is not None
    return one


def test_the_service_in_numbers(site: Site) -> None:
    """Queue, workers, rounds, failures, waiting, messages, use, and the lag of the pages."""
    runs, _, _ = (submitted(site, name, priority) for name, priority in (
        ("runs", "high"), ("waits", "normal"), ("waits2", "low"),
    ))  # fmt: skip
    leading = Leading(site.store.database)
    lead = leading.take({**HOLDER, "room": [8.0, 2.0]})
    standing = SubmissionStanding(submission_id=runs.id, generation=1, state=State.RUNNING)
    leading.record(
        lead, standings=[standing], grants=[Grant(sweep="runs", workers=3)],
        usage={"ann": 3600.0}, price=2.5, events=[("waits", "halted", "")], receivers=("r",),
    )  # fmt: skip
    leading.begin_driver(lead, runs, rounds=0)
    driver = leading.begin_driver(lead, runs, rounds=0)
    leading.end_driver(lead, driver.id, code=None, error="", rounds=0)
    plan = planned(site.store)
    plan.begin(plan.run_ids[:2])
    plan.record(plan.report(plan.run_ids[0], epoch=2))
    plan.record(plan.report(plan.run_ids[1], epoch=1, ending=Ending.DIVERGED, error="nan"))
    shown = site.ask("eve", "GET", "/sweeps/waits").json["messages"]
    assert [(one["event"], one["outcome"]) for one in shown] == [("halted", "waits to be sent")]
    found = scraped(site.desk.metrics())
    expected = {
        "sweeper_submissions{priority=high,state=running}": 1,
        "sweeper_submissions{priority=normal,state=queued}": 1,
        "sweeper_submissions{priority=low,state=queued}": 1,
        "sweeper_workers_granted": 3,
        "sweeper_workers_busy": 1,
        "sweeper_cpus": 8,
        "sweeper_gpus": 2,
        "sweeper_rounds_total": 3,
        "sweeper_runs{state=failed}": 1,
        "sweeper_failures_total{reason=diverged}": 1,
        "sweeper_driver_starts_total": 2,
        "sweeper_driver_ends_total{code=unknown}": 1,
        "sweeper_wait_seconds_count": 1,
        "sweeper_wait_seconds_bucket{le=+Inf}": 1,
        "sweeper_supervisor_leads": 1,
        "sweeper_messages{outcome=waiting}": 1,
        "sweeper_messages{outcome=received}": 0,
        "sweeper_usage_seconds_total{owner=ann}": 3600,
        "sweeper_spent_total{owner=ann}": 2.5,
        "sweeper_page_readers": 3,
        "sweeper_page_lag_seconds": 1.5,
    }
    assert {name: found.get(name) for name in expected} == expected
    assert found["sweeper_longest_wait_seconds{priority=low}"] >= 0
    assert "waits2" not in site.desk.metrics()


def test_metrics_need_a_token_of_any_role(site: Site) -> None:
    """Also on this machine: a page in any browser tab can send requests to it."""
    assert ask(site.app, "GET", "/metrics").status == 401
    answer = ask(site.app, "GET", "/metrics", token=site.tokens["eve"])
    assert (answer.status, answer.headers["content-type"]) == (200, METRICS)
    assert scraped(answer.body.decode())["sweeper_supervisor_leads"] == 0


def test_the_database_is_asked_once_in_five_seconds(site: Site) -> None:
    """However many ask for the metrics."""
    now = [0.0]
    page = MetricsPage(site.store.database, clock=lambda: now[0])
    first = page.text()
    submitted(site, "a")
    assert page.text() == first
    now[0] = 5.0
    assert "sweeper_submissions" in page.text()
    assert scraped(page.text())["sweeper_submissions{priority=normal,state=queued}"] == 1
