"""What a target is."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from hypothesis import HealthCheck, example, given, seed, settings
from hypothesis import strategies as st


@dataclass(frozen=True)
class Target:
    """`check` raises AssertionError, or whatever else it should not, for an input of `strategy` that shows a defect."""

    name: str
    strategy: st.SearchStrategy[Any]
    check: Callable[[Any], None]
    past: Iterable[Any] = ()
    """Inputs that once failed."""
    short: int = 300
    """Inputs of a short run."""

    def test(self, number: int, examples: int) -> Callable[[], None]:
        """A function that tries `examples` inputs, the past ones first. `number`: the seed."""

        def run(data: Any) -> None:
            self.check(data)

        wrapped = given(data=self.strategy)(run)
        for data in self.past:
            wrapped = example(data=data)(wrapped)
        budget = settings(
            max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck)
        )
        return seed(number)(budget(wrapped))


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    """The pieces of `data` between these places."""
    cuts = sorted({0, len(data), *(place for place in places if place <= len(data))})
    return [data[start:end] for start, end in pairwise(cuts)]


PLACES: Final = st.lists(st.integers(0, 300), max_size=6)


@st.composite
def mutated(draw: st.DrawFn, source: st.SearchStrategy[bytes]) -> bytes:
    """A few bytes of it are others, missing, doubled or too many."""
    data = draw(source)
    for _ in range(draw(st.sampled_from([0, 1, 1, 2, 5]))):
        start = draw(st.integers(0, len(data)))
        end = start + draw(st.sampled_from([0, 1, 1, 2, 30]))
        put = draw(st.binary(max_size=3) | st.just(data[start:end] * 2))
        data = data[:start] + put + data[end:]
    return data
