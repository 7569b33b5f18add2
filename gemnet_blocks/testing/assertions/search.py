"""Searching for a counterexample to a property, and reporting it as code."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from gemnet_blocks.spec import Spec
from gemnet_blocks.structures import Structures
from gemnet_blocks.testing.reproduce import as_code, spec_as_code

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

Strategy = Any
"""A strategy, or a function from the values drawn before it, by name, to a strategy."""


class CounterExample(AssertionError):  # noqa: N818 - an example, of which the error tells
    """A property does not hold.

    Attributes:
        property: which.
        example: for which values, by name; as small as the search could make them.
        error: what the check raised.
    """

    def __init__(self, property: str, example: Mapping[str, Any], error: BaseException, note: str = "") -> None:
        self.property = property
        self.example = dict(example)
        self.error = error
        self.note = note
        super().__init__(self._message())

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.property, self.example, self.error, self.note)

    def _message(self) -> str:
        what = str(self.error).strip() or "the check failed"
        if not isinstance(self.error, AssertionError):
            what = f"{type(self.error).__name__}: {what}"
        code = "\n".join(f"{name} = {code_of(value)}" for name, value in self.example.items())
        shown = f"\nThe smallest counterexample found:\n\n{textwrap.indent(code, '    ')}\n" if code else ""
        return f"{self.property}: violated\n{what}\n{self.note}{shown}".rstrip()


def search(check: Callable[..., None], property_name: str, examples: int = 50, **strategies: Strategy) -> None:
    """Look for values for which a check fails; raise the smallest found.

    The search is the same every time, stores nothing and prints nothing.

    Args:
        check: takes the values by name; raises where the property does not hold. Whatever it raises counts, crashes
            too.
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
        found = CounterExample(property_name, *failures[-1], note=_note(error, failures[-1][1]))
    else:
        return
    raise found from None


def code_of(value: Any) -> str:
    """Code that makes a value again: of structures and specs what `reproduce` writes, of others their repr."""
    if isinstance(value, Structures):
        return as_code(value)
    return spec_as_code(value) if isinstance(value, Spec) else repr(value)


def _note(raised: BaseException, failure: Exception) -> str:
    if raised is failure:
        return ""
    return "The check did not fail every time for the same values: something in it is not deterministic.\n"
