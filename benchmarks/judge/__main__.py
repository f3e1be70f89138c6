"""`python -m benchmarks.judge`: every judge on the same made-up releases, as a table.

RUNS (default 40) releases per scenario and judge, INTERVAL (default 15) seconds between looks, JOBS processes, SEED of
the first release: what was tuned on some seeds is reported on others.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from benchmarks.judge.ours import ours
from benchmarks.judge.outcomes import Contender, Outcome
from benchmarks.judge.report import HEADER, Row, as_json, behind, line, missed, row
from benchmarks.judge.rivals import RIVALS, TUTORIAL
from benchmarks.judge.scenarios import SCENARIOS, Scenario
from benchmarks.judge.streams import CELL_S

OURS = "ours"
CONTENDERS: dict[str, Contender] = {OURS: ours, **RIVALS}
_CHUNK = 20


def main(arguments: list[str] | None = None) -> int:
    """Run what was asked for; 1 where a bar is missed."""
    options = _options(arguments)
    chosen = [
        one
        for one in SCENARIOS
        if all(word in one.name for word in options.only or ()) and options.kind in {None, _kind(one)}
    ]
    if not chosen:
        print(f"no scenario is called {' '.join(options.only or ())!r}", file=sys.stderr)
        return 2
    names = [OURS] if options.ours else list(CONTENDERS)
    print(f"{options.runs} releases each, a look every {options.interval:g} s\n\n{HEADER}", flush=True)
    rows: list[Row] = []
    complaints: list[str] = []
    for scenario, found in _played(chosen, names, options):
        rows.append(found)
        print(line(found), flush=True)
        if found.judge == OURS:
            complaints += [f"{scenario.name}: {text}" for text in missed(scenario, found)]
            if found.good and found.convicted:
                print(f"    rolled back by {found.convicted}", flush=True)
            if found.waited:
                print(f"    held for {found.waited}", flush=True)
            mine = found
        if found.judge == TUTORIAL:
            complaints += [f"{scenario.name}: {text}" for text in behind(scenario, mine, found)]
    print(
        "\n"
        + "\n".join(["Missed:", *complaints] if complaints else [f"No bar missed, as far as {options.runs} can tell."])
    )
    if options.ours:
        print("Not looked at without the rivals: the bars in comparison with Flagger's tutorial rule.")
    if options.json:
        Path(options.json).write_text(json.dumps([as_json(one) for one in rows], indent=1) + "\n", encoding="utf-8")
    return 1 if complaints else 0


def play(scenario: Scenario, judges: list[str], seeds: range, interval: float) -> dict[str, list[Outcome]]:
    """Some releases, each by every judge before the next: the traffic of a release is drawn once."""
    found: dict[str, list[Outcome]] = {judge: [] for judge in judges}
    for seed in seeds:
        for judge in judges:
            found[judge].append(CONTENDERS[judge](scenario.world, scenario.fault, seed, interval))
    return found


def _played(chosen: list[Scenario], judges: list[str], options: argparse.Namespace) -> Iterator[tuple[Scenario, Row]]:
    end, interval = options.seed + options.runs, options.interval
    chunks = [range(first, min(first + _CHUNK, end)) for first in range(options.seed, end, _CHUNK)]
    with ExitStack() as stack:
        if options.jobs == 1:
            parts = ((scenario, (play(scenario, judges, seeds, interval) for seeds in chunks)) for scenario in chosen)
        else:
            pool = stack.enter_context(ProcessPoolExecutor(options.jobs))
            futures = [
                [pool.submit(play, scenario, judges, seeds, interval) for seeds in chunks] for scenario in chosen
            ]
            parts = (
                (scenario, (future.result() for future in each)) for scenario, each in zip(chosen, futures, strict=True)
            )
        for scenario, each in parts:
            done = list(each)
            for judge in judges:
                yield scenario, row(scenario, judge, interval, [one for part in done for one in part[judge]])


def _kind(scenario: Scenario) -> str:
    return "good" if scenario.good else "bad"


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.judge", description=__doc__)
    parser.add_argument("--runs", type=_positive, default=os.environ.get("RUNS", "40"))
    parser.add_argument("--interval", type=_interval, default=os.environ.get("INTERVAL", "15"))
    parser.add_argument("--seed", type=_whole, default=os.environ.get("SEED", "0"), help="of the first release")
    parser.add_argument("--jobs", type=_positive, default=os.environ.get("JOBS", str(os.cpu_count() or 1)))
    parser.add_argument("--only", action="append", metavar="TEXT", help="scenarios whose name contains it")
    parser.add_argument("--kind", choices=("good", "bad"), help="only canaries that are so")
    parser.add_argument("--ours", action="store_true", help="this project's judge alone")
    parser.add_argument("--json", metavar="FILE", help="write the rows there too")
    return parser.parse_args(arguments)


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"expected a positive number, not {text!r}")
    return int(text)


def _whole(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"expected a whole number, not {text!r}")
    return int(text)


def _interval(text: str) -> float:
    seconds = float(text)
    if seconds <= 0 or seconds % CELL_S or 60 % seconds:
        raise argparse.ArgumentTypeError(f"expected a multiple of {CELL_S:g} that divides 60, not {text!r}")
    return seconds


if __name__ == "__main__":
    sys.exit(main())
