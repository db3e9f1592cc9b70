"""Which close codes an endpoint may send."""

import pytest

from hsrv.asyncpool.websocket.codecs.events import may_be_sent


@pytest.mark.parametrize(
    "code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 3000, 4999]
)
def test_a_code_for_endpoints_may_be_sent(code: int) -> None:
    assert may_be_sent(code)


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1014, 1015, 1016, 2999, 5000, -1])
def test_a_reserved_code_may_not_be_sent(code: int) -> None:
    assert not may_be_sent(code)
