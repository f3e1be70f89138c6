"""Policies that are good and policies that are not, for the model and for the API server to judge."""

import random
from collections.abc import Iterator
from typing import Any

JsonObject = dict[str, Any]

_STEPS = [{"weight": 10, "hold": "5m"}, {"weight": 100, "hold": "5m"}]
_CUSTOM = {"name": "queue", "query": 'max(depth{version="{{version}}"})', "max": 5}

GOOD: dict[str, JsonObject] = {
    "nothing": {},
    "steps": {"steps": _STEPS},
    "one-step": {"steps": [{"weight": 100}]},
    "twenty-steps": {"steps": [{"weight": weight} for weight in range(81, 101)]},
    "longest-hold": {"steps": [{"weight": 100, "hold": "1d"}], "deadlines": {"total": "1d1ms"}},
    "shortest-hold": {"steps": [{"weight": 100, "hold": "1000ms"}]},
    "interval-in-all-units": {"interval": "0d0h1m1s1ms"},
    "longest-interval": {"interval": "5m", "deadlines": {"metrics": "5m"}},
    "no-settle": {"settle": "0s"},
    "virtual-service": {"route": {"virtualService": "shop.checkout", "name": "primary"}},
    "several-virtual-services": {
        "route": {
            "virtualServices": [{"name": "checkout"}, {"name": "checkout", "namespace": "gateways", "route": "x"}]
        }
    },
    "no-virtual-services": {"route": {"virtualServices": [], "virtualService": "checkout"}},
    "two-subsets": {"route": {"subsets": ["blue", "green"]}},
    "no-subsets": {"route": {"subsets": [], "host": "{service}-{version}"}},
    "host": {"route": {"host": "{version}"}},
    "deployment": {"deployment": "{service}.{version}"},
    "pod-label": {"podLabel": "app.kubernetes.io/version"},
    "total-in-days": {"deadlines": {"total": "1d12h"}},
    "deadlines": {"interval": "1s", "deadlines": {"ready": "1s", "metrics": "1s", "verdict": "1s", "route": "0s"}},
    "auto": {"metrics": {"versionLabel": "auto"}},
    "label": {"metrics": {"versionLabel": "destination_version", "reporters": ["destination"]}},
    "buckets": {"metrics": {"buckets": [0.5, 1, 5]}},
    "errors": {"checks": {"errors": {"codes": ["5xx", "429"], "grpc": ["INTERNAL"], "max": "100%"}}},
    "all-digits": {"checks": {"errors": {"max": "0.000001%", "overStable": {"ratio": 1, "margin": "007.5%"}}}},
    "fail-fast": {"checks": {"errors": {"failFast": {"enabled": False, "max": "5%", "requests": 1}}}},
    "latency": {"checks": {"latency": {"objectives": ["p99 < 500ms", {"bound": "1s", "max": "1%"}], "compare": []}}},
    "custom": {"checks": {"custom": [_CUSTOM, {**_CUSTOM, "name": "other"}]}},
    "custom-range": {"checks": {"custom": [{**_CUSTOM, "min": 5}]}},
    "custom-over-stable": {
        "checks": {"custom": [{"name": "q", "query": 'x{w="{{ workload }}"}', "overStable": {"ratio": 2}}]}
    },
    "judge": {"judge": {"falseRollback": "20%", "learn": "6h", "block": "1s", "onset": "1d", "proof": {"risk": "50%"}}},
    "unproven": {"judge": {"unproven": "hold", "early": True, "dwell": "0s"}},
    "office-hours": {
        "schedule": {
            "timeZone": "Europe/Berlin",
            "windows": [{"days": ["Mon", "Fri"], "from": "09:00", "to": "17:00"}],
        },
        "deadlines": {"total": "5d"},
    },
    "over-midnight": {"schedule": {"windows": [{"from": "22:00", "to": "06:00"}]}},
    "no-windows": {"schedule": {"windows": [], "freezes": []}},
    "cron": {"schedule": {"windows": [{"cron": "0 9-16 * * MON-FRI", "for": "1h"}]}, "deadlines": {"total": "9d"}},
    "cron-beside-usual-times": {"schedule": {"windows": [{"cron": "0 0 * * *", "for": "60m", "from": "00:00"}]}},
    "one-window-each": {"schedule": {"windows": [{"from": "09:00", "allows": ["start"]}, {"allows": ["advance"]}]}},
    "freezes": {
        "schedule": {
            "freezes": [
                {"from": "2026-12-21", "until": "2027-01-03", "reason": "Christmas"},
                {"from": "2026-11-27T00:00:00Z", "until": "2026-11-27T12:00:00.5+01:00"},
                {"from": "2026-11-27", "until": "2026-11-27"},
            ]
        }
    },
    "after": {"after": ["payments", "ledger"]},
    "gates": {
        "gates": [
            {"name": "change-board"},
            {"name": "smoke", "before": 30, "kind": "job", "use": "smoke", "timeout": "10m", "retries": 0},
            {"name": "full", "before": 100, "kind": "webhook", "use": "load", "onFailure": "hold"},
            {"name": "last", "before": "promotion", "timeout": "30d"},
        ]
    },
    "gate-before-a-step-of-its-own": {"steps": _STEPS, "gates": [{"name": "full", "before": 100}]},
    "triggers": {
        "allowedTriggers": [
            {"issuer": "github", "repositoryId": "1234", "environment": "production", "verbs": ["create", "approve"]},
            {"issuer": "gitlab", "projectId": "99", "protected": True, "ref": "main", "workflow": "x"},
        ]
    },
    "notify": {"notify": ["releases"]},
    "notify-nobody": {"notify": []},
}

BAD: dict[str, JsonObject] = {
    "unknown-key": {"intervall": "5s"},
    "snake-case": {"pod_label": "version"},
    "no-steps": {"steps": []},
    "twenty-one-steps": {"steps": [{"weight": weight} for weight in range(80, 101)]},
    "step-without-weight": {"steps": [{"hold": "5m"}]},
    "weight-0": {"steps": [{"weight": 0}, {"weight": 100}]},
    "weight-101": {"steps": [{"weight": 101}]},
    "weight-in-words": {"steps": [{"weight": "100"}]},
    "half-a-weight": {"steps": [{"weight": 10.5}, {"weight": 100}]},
    "not-to-100": {"steps": [{"weight": 10}, {"weight": 99}]},
    "falling": {"steps": [{"weight": 30}, {"weight": 10}, {"weight": 100}]},
    "level": {"steps": [{"weight": 30}, {"weight": 30}, {"weight": 100}]},
    "hold-too-short": {"steps": [{"weight": 100, "hold": "999ms"}]},
    "hold-too-long": {"steps": [{"weight": 100, "hold": "1d1ms"}]},
    "hold-too-long-in-hours": {"steps": [{"weight": 100, "hold": "25h"}]},
    "hold-without-unit": {"steps": [{"weight": 100, "hold": "5"}]},
    "interval-0": {"interval": "0s"},
    "interval-too-long": {"interval": "5m1ms", "deadlines": {"metrics": "1h"}},
    "interval-in-days": {"interval": "1d"},
    "interval-empty": {"interval": ""},
    "interval-number": {"interval": 15},
    "interval-reversed": {"interval": "1s1m"},
    "interval-of-25-characters": {"interval": "0000000000000000000000015s"},
    "settle-too-long": {"settle": "301s"},
    "both-routes": {"route": {"virtualService": "a", "virtualServices": [{"name": "b"}]}},
    "name-beside-several": {"route": {"name": "primary", "virtualServices": [{"name": "b"}]}},
    "the-same-twice": {"route": {"virtualServices": [{"name": "b", "route": "x"}, {"name": "b", "route": "y"}]}},
    "the-same-twice-elsewhere": {
        "route": {"virtualServices": [{"name": "b", "namespace": "n"}, {"name": "b", "namespace": "n"}]}
    },
    "nine-virtual-services": {"route": {"virtualServices": [{"name": f"b{number}"} for number in range(9)]}},
    "no-name": {"route": {"virtualService": ""}},
    "capitals": {"route": {"virtualService": "Checkout"}},
    "one-subset": {"route": {"subsets": ["blue"]}},
    "the-same-subset": {"route": {"subsets": ["blue", "blue"]}},
    "three-subsets": {"route": {"subsets": ["a", "b", "c"]}},
    "subsets-and-host": {"route": {"subsets": ["a", "b"], "host": "{version}"}},
    "host-for-all": {"route": {"host": "{service}"}},
    "deployment-for-all": {"deployment": "{service}"},
    "pod-label": {"podLabel": "-"},
    "total-too-short": {"deadlines": {"total": "20m"}},
    "total-too-short-for-steps": {"steps": _STEPS, "deadlines": {"total": "10m"}},
    "steps-too-long-for-total": {"steps": [{"weight": 50, "hold": "12h"}, {"weight": 100, "hold": "12h"}]},
    "deadline-below-interval": {"interval": "1m", "deadlines": {"ready": "59s"}},
    "verdict-below-interval": {"deadlines": {"verdict": "14s999ms"}},
    "reporter": {"metrics": {"reporters": ["both"]}},
    "no-reporter": {"metrics": {"reporters": []}},
    "label": {"metrics": {"versionLabel": "version"}},
    "bucket-0": {"metrics": {"buckets": [0]}},
    "more-than-all": {"checks": {"errors": {"max": "101%"}}},
    "a-little-more-than-all": {"checks": {"errors": {"max": "100.1%"}}},
    "share-without-sign": {"checks": {"errors": {"max": "5"}}},
    "share-as-number": {"checks": {"errors": {"max": 0.05}}},
    "ratio-below-1": {"checks": {"errors": {"overStable": {"ratio": 0.9, "margin": "1%"}}}},
    "tolerance-without-margin": {"checks": {"errors": {"overStable": {"ratio": 2}}}},
    "code": {"checks": {"errors": {"codes": ["6xx"]}}},
    "grpc": {"checks": {"errors": {"grpc": ["BROKEN"]}}},
    "fail-fast-too-eager": {"checks": {"errors": {"failFast": {"max": "4.999999%"}}}},
    "odds-of-1": {"checks": {"traffic": {"tolerance": 1}}},
    "no-requests": {"checks": {"minRequests": 0}},
    "custom-anything-goes": {"checks": {"custom": [{"name": "q", "query": "x"}]}},
    "custom-nothing-goes": {"checks": {"custom": [{**_CUSTOM, "min": 6}]}},
    "custom-same-query": {"checks": {"custom": [{"name": "q", "query": "x", "overStable": {}}]}},
    "custom-same-name": {"checks": {"custom": [_CUSTOM, _CUSTOM]}},
    "custom-no-query": {"checks": {"custom": [{**_CUSTOM, "query": ""}]}},
    "custom-action": {"checks": {"custom": [{**_CUSTOM, "action": "page"}]}},
    "false-rollback-0": {"judge": {"falseRollback": "0%"}},
    "false-rollback": {"judge": {"falseRollback": "20.000001%"}},
    "risk": {"judge": {"proof": {"risk": "50.1%"}}},
    "learn": {"judge": {"learn": "6h1s"}},
    "block": {"judge": {"block": "999ms"}},
    "onset": {"judge": {"onset": "0s"}},
    "weekday": {"schedule": {"windows": [{"days": ["Monday"]}]}},
    "no-weekday": {"schedule": {"windows": [{"days": []}]}},
    "time-of-day": {"schedule": {"windows": [{"from": "9:00"}]}},
    "no-time-of-day": {"schedule": {"windows": [{"from": "09:60"}]}},
    "from-24": {"schedule": {"windows": [{"from": "24:00"}]}},
    "after-24": {"schedule": {"windows": [{"to": "24:01"}]}},
    "cron-without-for": {"schedule": {"windows": [{"cron": "0 9 * * *"}]}},
    "for-without-cron": {"schedule": {"windows": [{"for": "1h"}]}},
    "cron-and-days": {"schedule": {"windows": [{"cron": "0 9 * * *", "for": "1h", "days": ["Mon"]}]}},
    "cron-and-times": {"schedule": {"windows": [{"cron": "0 9 * * *", "for": "1h", "to": "17:00"}]}},
    "cron-for-too-long": {"schedule": {"windows": [{"cron": "0 9 * * *", "for": "8d"}]}},
    "cron-for-no-time": {"schedule": {"windows": [{"cron": "0 9 * * *", "for": "59s"}]}},
    "cron-for-half-a-minute-more": {"schedule": {"windows": [{"cron": "0 9 * * *", "for": "90s"}]}},
    "never-to-start": {"schedule": {"windows": [{"allows": ["advance"]}]}},
    "never-to-advance": {"schedule": {"windows": [{"allows": ["start"]}]}},
    "allows": {"schedule": {"windows": [{"allows": ["rollback"]}]}},
    "seventeen-windows": {"schedule": {"windows": [{}] * 17}},
    "zone": {"schedule": {"timeZone": "/etc/localtime"}},
    "freeze-without-end": {"schedule": {"freezes": [{"from": "2026-12-21"}]}},
    "freeze-in-words": {"schedule": {"freezes": [{"from": "today", "until": "2026-12-21"}]}},
    "freeze-without-zone": {"schedule": {"freezes": [{"from": "2026-12-21T00:00:00", "until": "2026-12-24"}]}},
    "after-17": {"after": [f"service-{number}" for number in range(17)]},
    "after-itself": {"after": ["checkout"]},
    "gate-without-name": {"gates": [{"kind": "approval"}]},
    "two-gates-of-one-name": {"gates": [{"name": "a"}, {"name": "a", "before": "promotion"}]},
    "gate-before-no-step": {"gates": [{"name": "a", "before": 20}]},
    "gate-before-no-step-of-these": {"steps": _STEPS, "gates": [{"name": "a", "before": 50}]},
    "gate-before-0": {"gates": [{"name": "a", "before": 0}]},
    "gate-before-something": {"gates": [{"name": "a", "before": "end"}]},
    "gate-before-a-list": {"gates": [{"name": "a", "before": [10]}]},
    "gate-before-half-a-weight": {"gates": [{"name": "a", "before": 10.5}]},
    "webhook-without-use": {"gates": [{"name": "a", "kind": "webhook"}]},
    "approval-with-use": {"gates": [{"name": "a", "use": "b"}]},
    "webhook-by-address": {"gates": [{"name": "a", "kind": "webhook", "use": "https://evil.example"}]},
    "gate-without-time": {"gates": [{"name": "a", "timeout": "0s"}]},
    "gate-for-ever": {"gates": [{"name": "a", "timeout": "31d"}]},
    "gate-asked-again-and-again": {"gates": [{"name": "a", "kind": "job", "use": "b", "retries": 11}]},
    "trigger-by-name": {"allowedTriggers": [{"issuer": "github", "repositoryId": "acme/checkout"}]},
    "trigger-by-nothing": {"allowedTriggers": [{"issuer": "github", "ref": "refs/heads/main"}]},
    "trigger-of-both": {"allowedTriggers": [{"issuer": "github", "repositoryId": "1", "projectId": "1"}]},
    "trigger-without-issuer": {"allowedTriggers": [{"repositoryId": "1"}]},
    "trigger-for-nothing": {"allowedTriggers": [{"issuer": "github", "repositoryId": "1", "verbs": []}]},
    "trigger-for-anything": {"allowedTriggers": [{"issuer": "github", "repositoryId": "1", "verbs": ["delete"]}]},
    "notify-by-address": {"notify": ["https://evil.example"]},
}

LEFT_TO_THE_MODEL: dict[str, JsonObject] = {
    "no-bucket": {"checks": {"latency": {"compare": ["55ms"]}}},
    "objective-at-no-bucket": {"checks": {"latency": {"objectives": ["p99 < 55ms"]}}},
    "objective-in-words": {"checks": {"latency": {"objectives": ["fast"]}}},
    "two-objectives-at-one-bound": {"checks": {"latency": {"objectives": ["p99 < 500ms", "p90 < 500ms"]}}},
    "placeholder": {"checks": {"custom": [{"name": "q", "query": "x{{shop}}", "max": 1}]}},
    "no-such-zone": {"schedule": {"timeZone": "Europe/Atlantis"}},
    "cron-in-words": {"schedule": {"windows": [{"cron": "every day at nine", "for": "1h"}]}},
    "cron-on-no-day": {"schedule": {"windows": [{"cron": "0 9 30 2 *", "for": "1h"}]}},
    "longer-closed-than-it-may-take": {"schedule": {"windows": [{"days": ["Mon"], "from": "09:00", "to": "17:00"}]}},
    "freeze-on-no-day": {"schedule": {"freezes": [{"from": "2026-02-30", "until": "2026-03-01"}]}},
    "freeze-that-ends-before": {"schedule": {"freezes": [{"from": "2026-12-24", "until": "2026-12-23"}]}},
}
"""Bad ones that CEL cannot see, or not afford to look at: the release is refused by the controller, which says why."""


def mixed(seed: int, count: int) -> Iterator[JsonObject]:
    """Policies whose parts are each as likely good as bad, and which are often bad only in how they go together."""
    dice = random.Random(seed)
    durations = ["0s", "1s", "15s", "1m", "5m", "20m", "1h", "1d", "2d1h"]
    for _ in range(count):
        policy: JsonObject = {}
        if dice.random() < 0.5:
            policy["interval"] = dice.choice(durations[:6])
        if dice.random() < 0.5:
            weights = [dice.choice((10, 30, 50)) for _ in range(dice.randint(0, 3))] + [dice.choice((100, 100, 90))]
            policy["steps"] = [
                {"weight": weight} | ({"hold": dice.choice(durations)} if dice.random() < 0.5 else {})
                for weight in (sorted(weights) if dice.random() < 0.7 else weights)
            ]
        if dice.random() < 0.5:
            names = dice.sample(("ready", "route", "metrics", "verdict", "total"), dice.randint(1, 3))
            policy["deadlines"] = {name: dice.choice(durations) for name in names}
        if dice.random() < 0.3:
            route: JsonObject = {
                "virtualService": "a",
                "name": "primary",
                "virtualServices": [{"name": dice.choice("ab")} for _ in range(dice.randint(0, 2))],
                "subsets": [dice.choice("ab") for _ in range(dice.randint(0, 2))],
                "host": dice.choice(("{version}", "{service}")),
            }
            kept = dice.sample(sorted(route), dice.randint(1, 3))
            policy["route"] = {key: route[key] for key in kept}
        yield policy
