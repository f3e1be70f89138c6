"""Every code that a route can be refused with stands in docs/traffic.md, with what to do about it."""

import re
from pathlib import Path

import rollout.adapters.virtual_service as anchor

_MODULES = ("destination_rule", "slots", "host_split", "naming", "http_route", "virtual_service", "legs")
_CODE = re.compile(r"""Problem\(\s*"([a-z-]+)"|^    "[a-zA-Z]+": \(\s*"([a-z-]+)",""", re.MULTILINE)
_ROOT = Path(__file__).parents[3]


def test_every_problem_code_is_documented_and_no_other() -> None:
    sources = Path(anchor.__file__).parent
    codes = {
        first or second
        for module in _MODULES
        for first, second in _CODE.findall((sources / f"{module}.py").read_text(encoding="utf-8"))
    }
    table = (_ROOT / "docs" / "traffic.md").read_text(encoding="utf-8").rpartition("| code | what to do |")[2]
    documented = {code for line in table.splitlines() for code in re.findall(r"`([a-z-]+)`", line.split(" | ")[0])}
    assert codes == documented
