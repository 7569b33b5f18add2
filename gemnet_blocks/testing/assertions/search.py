"""Searching for a counterexample to a property."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gemnet_blocks.testing.assertions.counterexample import CounterExample

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

Strategy = Any
"""A strategy, or a function from the values drawn before it, by name, to a strategy."""


def search(check: Callable[..., None], property_name: str, examples: int = 50, **strategies: Strategy) -> None:
    """Look for values for which a check fails; raise the smallest found.

    The search is the same every time, stores nothing and prints nothing.

    Args:
        check: takes the values by name; raises where the property does not hold. Whatever it raises counts, crashes
            too. Of a `Check`, the model and the call are shown in the error.
        property_name: what is checked, for the message.
        examples: how many to try.
        strategies: for each argument a strategy, or a function that makes one of the arguments drawn before, which it
            is given as one mapping.

    Raises:
        CounterExample: the property does not hold.
        ImportError: hypothesis is not installed.
    """
    from hypothesis import HealthCheck, Phase, Verbosity, given, settings
    from hypothesis import strategies as st
    from hypothesis.errors import HypothesisException

    failures: list[tuple[dict[str, Any], Exception]] = []

    @st.composite
    def drawn(draw: Callable[[SearchStrategy[Any]], Any]) -> dict[str, Any]:
        example: dict[str, Any] = {}
        for name, strategy in strategies.items():
            example[name] = draw(strategy if isinstance(strategy, st.SearchStrategy) else strategy(dict(example)))
        return example

    def attempt(example: dict[str, Any]) -> None:
        try:
            check(**example)
        except HypothesisException:  # as of `assume`
            raise
        except Exception as error:
            failures.append((example, error))
            raise

    run = settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        report_multiple_bugs=False,
        print_blob=False,
        verbosity=Verbosity.quiet,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )(given(drawn())(attempt))
    try:
        run()
    except Exception as error:
        if not failures:
            raise
        # the last failure is that of the smallest example, which hypothesis tries once more before it reports
        found = CounterExample(property_name, *failures[-1], note=_note(error, failures[-1][1]), check=check)
    else:
        return
    raise found from None


def _note(raised: BaseException, failure: Exception) -> str:
    if raised is failure:
        return ""
    return "The check did not fail every time for the same values: something in it is not deterministic.\n"
