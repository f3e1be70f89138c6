"""Names that would be more than names in a query. The real Prometheus is asked in `tests/adapters/prometheus`."""

from typing import Any

import pytest
from pydantic import ValidationError

from rollout.core.release import ReleaseSpec
from rollout.settings import Settings

EVIL = 'x"}[1m])) or vector(1) #'


@pytest.mark.parametrize("field", ["service", "version"])
@pytest.mark.parametrize("value", [EVIL, 'v2"', "v2\\", "v2\n", "v2}", "v2|v1", "v2.*", "v2{", "\uff362"])
def test_no_release_has_a_name_that_could_end_a_string(field: str, value: str) -> None:
    fields: dict[str, Any] = {"service": "checkout", "version": "v2", field: value}
    with pytest.raises(ValidationError):
        ReleaseSpec(**fields)


@pytest.mark.parametrize("matcher", [EVIL, 'a="b",c="d"', 'a=~".*"', '__name__="x"', 'a="b\\"', 'a="b"} or up{a="b"'])
def test_an_administrators_matcher_is_one_matcher(matcher: str) -> None:
    with pytest.raises(ValidationError):
        Settings(prometheus_matchers=(matcher,))
