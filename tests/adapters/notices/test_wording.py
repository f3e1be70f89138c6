"""What a notice says: the sentence, the numbers, links that lead somewhere, the command that stops it."""

from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout.adapters.config_file import read
from rollout.adapters.notices.links import checked, links_of
from rollout.adapters.notices.wording import message_of
from rollout.administration import Links
from rollout.core.events import CATALOGUE
from rollout.core.judging.verdicts import Verdict
from rollout.core.release import Phase, Release, Source
from tests.adapters.notices.given import LINKS, notice, release

FAILED = Verdict(
    check="errors vs stable",
    outcome="fail",
    value=0.081,
    limit=0.01,
    bad=81,
    requests=1000,
    stable=0.001,
    stable_requests=9000,
    evidence=250.0,
    convicts=100.0,
    message="8.1 % of 1,000 requests of v2 failed, of v1 0.1 %",
)


def facts(one: Release, event: str = "rollback.started", **fields: Any) -> dict[str, str]:
    return dict(message_of(one, notice(1, event, **fields), "ops", LINKS).facts)


def urls(templates: Links, one: Release) -> dict[str, str]:
    return {link.name: link.url for link in links_of(one, templates)}


def test_it_says_what_happened_with_the_numbers_and_how_to_stop_it() -> None:
    message = message_of(release(verdicts=(FAILED,)), notice(1), "ops", LINKS)
    assert message.title == "checkout v2 in shop: step started"
    assert message.sentence == "v2 has 30 % of the traffic (before: 10 %), watched for 300 s"
    assert message.stop == "rollout abort checkout-v2-0a1b2c3d4e -n shop"
    told = dict(message.facts)
    assert told["Version"] == "v2 over v1"
    assert told["Canary's share"] == "10 %"
    assert told["Check"] == FAILED.message
    assert told["Evidence"] == "1 in 250 by chance; rolls back at 1 in 100"
    assert told["Requests"] == "1,000 of the canary, 9,000 of stable"
    assert len(message.facts) <= 10


def test_the_failing_check_comes_before_the_most_suspected_one() -> None:
    suspected = FAILED.model_copy(update={"outcome": "unknown", "evidence": 1e6, "message": "the other"})
    assert facts(release(verdicts=(suspected, FAILED)))["Check"] == FAILED.message


def test_nothing_is_to_be_stopped_when_it_is_over() -> None:
    over = release(phase=Phase.PROMOTED, weight=100)
    assert message_of(over, notice(1, "release.succeeded", duration_s=900), "ops", LINKS).stop == ""
    assert message_of(release(), notice(1, "release.aborted"), "ops", LINKS).stop == ""


def test_an_approval_that_is_waited_for_comes_with_its_command() -> None:
    waiting = facts(release(), "gate.waiting", gate="four-eyes", kind="approval", before="30")
    assert waiting["Let it pass"] == "rollout approve checkout-v2-0a1b2c3d4e --gate four-eyes -n shop"
    assert "Let it pass" not in facts(release(), "gate.waiting", gate="load", kind="job", before="30")


def test_who_asked_for_it_and_what_it_is_made_of_are_said() -> None:
    told = facts(release(source=Source(actor="ann", revision="4711abc")))
    assert (told["Asked for by"], told["Revision"]) == ("ann", "4711abc")


@pytest.mark.parametrize("name", sorted(CATALOGUE))
def test_every_event_of_the_catalogue_can_be_said(name: str) -> None:
    message = message_of(release(), notice(1, name), "ops", LINKS)
    assert message.sentence
    assert message.title.startswith("checkout v2 in shop: ")


def test_what_only_another_version_knows_is_said_as_well_as_it_can_be() -> None:
    message = message_of(release(), notice(1, "moon.rose", height_m=3), "ops", LINKS)
    assert message.sentence == "moon.rose: height_m 3"
    assert message.title == "checkout v2 in shop: moon rose"


@settings(deadline=None)
@given(reason=st.text(max_size=3000), actor=st.text(max_size=256))
def test_whatever_people_write_stays_on_one_line_and_has_an_end(reason: str, actor: str) -> None:
    one = release(source=Source(actor=actor))
    message = message_of(one, notice(1, "release.abort_requested", actor=actor, reason=reason), "ops", LINKS)
    for text in (message.title, message.sentence, *(value for _, value in message.facts)):
        assert text.isprintable()
        assert len(text) <= 1024


def test_the_key_is_the_same_for_the_same_notice_however_the_release_stands() -> None:
    one, later = release(), release(phase=Phase.ROLLED_BACK, weight=0)
    keys = {message_of(each, notice(7), "ops", LINKS).key for each in (one, later)}
    assert keys == {"uid-1/7/ops"}


def test_the_query_of_the_verdict_is_in_the_link_to_prometheus_letter_by_letter() -> None:
    one = release()
    asked = parse_qs(urlsplit(urls(LINKS, one)["prometheus"]).query)
    assert asked["g0.expr"] == [one.status.query]
    assert asked["g0.tab"] == ["0"]


def test_a_link_whose_values_are_not_known_is_left_out() -> None:
    one = release(query="", started_at=None, stable=None)
    assert set(urls(LINKS, one)) == {"runbook"}
    assert urls(Links(kiali="https://kiali.example.com/{nonsense}"), one) == {}


@settings(deadline=None)
@given(version=st.text(min_size=1, max_size=60))
def test_no_value_changes_where_a_link_leads(version: str) -> None:
    one = release(version=version)
    for link in links_of(one, Links(traces="https://jaeger.example.com/search?tag={version}#{version}")):
        parts = urlsplit(link.url)
        assert (parts.scheme, parts.netloc, parts.path) == ("https", "jaeger.example.com", "/search")
        assert parse_qs(parts.query)["tag"] == [version]


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "data:text/html,x",
        "ftp://example.com/",
        "//example.com/",
        "https://",
        "https://user:word@example.com/",
        "https://example.com/ <!channel>",
        "https://example.com/|other",
        "https://example.com/\n",
        "https://example.com/\u202egnp",
        "https://[::1/",
        "https://example.com/" + "a" * 3000,
        "",
    ],
)
def test_what_is_no_plain_link_is_not_shown(url: str) -> None:
    assert checked(url) is None
    assert urls(Links(), release(source=Source(url=url[:2048]))) == {}


def test_the_ci_run_is_linked() -> None:
    url = "https://github.com/acme/checkout/actions/runs/1?attempt=2"
    assert urls(Links(), release(source=Source(url=url))) == {"ci": url}


def test_the_settings_that_are_shown_as_an_example_hold_and_all_their_links_lead_somewhere() -> None:
    settings = read((Path(__file__).parents[3] / "config/settings/notices.yaml").read_bytes(), "notices.yaml")
    assert {one.kind for one in settings.channels} == {"slack", "teams", "webhook", "alertmanager", "pagerduty"}
    assert set(urls(settings.links, release())) == {"prometheus", "grafana", "kiali", "traces", "runbook"}
