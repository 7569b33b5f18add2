"""Where a property does not hold, as an error that carries the values, the model and code that shows it again."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gemnet_blocks.testing.reproduce import code_of, module_of, with_imports

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy


@dataclass(frozen=True, slots=True, eq=False)
class Check:
    """An assertion about a model, to be called with values by name and to be shown as code.

    Attributes:
        assertion: called as assertion(model, value, …, option=…).
        model: what is tested.
        values: the names of the values, in the order of the assertion's arguments.
        options: further arguments by name; those that are None are left to the assertion.
        setup: code that makes the values, where it is shorter than their own.
    """

    assertion: Callable[..., object]
    model: Any
    values: tuple[str, ...] = ("structures",)
    options: Mapping[str, Any] = field(default_factory=dict)
    setup: str = ""

    def __call__(self, **values: Any) -> None:
        """Raise if the property does not hold for these values; those that the assertion does not take are ignored."""
        self.assertion(self.model, *(values[name] for name in self.values), **self._given())

    @property
    def code(self) -> str:
        """The call, without what it is called with."""
        options = [f"{name}={value!r}" for name, value in self._given().items()]
        return f"{self.assertion.__name__}({', '.join(['model', *self.values, *options])})"

    def _given(self) -> dict[str, Any]:
        return {name: value for name, value in self.options.items() if value is not None}


class CounterExample(AssertionError):  # noqa: N818 - an example, of which the error tells
    """A property does not hold.

    With the error as `found`,

        exec(found.code, {"model": found.model})

    fails in the same way; so does the code in a test file of one's own where it has a `model`. To look at a structure:

        from gemnet_blocks.testing.models import to_ase
        atoms = to_ase(found.example["structures"])[0]

    Attributes:
        property: which.
        example: for which values, by name; as small as the search could make them.
        error: what the check raised.
        model: what was tested: the model that `assert_interaction` made around an interaction, the model, or the basis;
            None where a check takes none, and in copies by pickle.
        code: Python code with its imports: the values, and the call that fails for them.
    """

    def __init__(
        self,
        property: str,
        example: Mapping[str, Any],
        error: BaseException,
        note: str = "",
        check: Callable[..., None] | None = None,
        code: str | None = None,
    ) -> None:
        self.property = property
        self.example = dict(example)
        self.error = error
        self.note = note
        known = check if isinstance(check, Check) else None
        self.model = known.model if known else None
        self.code = _code(self.example, known) if code is None else code
        super().__init__(self._message())

    def __reduce__(self) -> tuple[Any, ...]:
        # without the model: not every callable can be pickled
        return type(self), (self.property, self.example, self.error, self.note, None, self.code)

    def _message(self) -> str:
        what = str(self.error).strip() or "the check failed"
        if not isinstance(self.error, AssertionError):
            what = f"{type(self.error).__name__}: {what}"
        where = "" if self.model is None else " (`model` is an attribute of this error)"
        code = textwrap.indent(self.code, "    ")
        shown = f"\nThe smallest counterexample found{where}:\n\n{code}\n" if code else ""
        return f"{self.property}: violated\n{what}\n{self.note}{shown}".rstrip()


@contextmanager
def holds(name: str, example: Mapping[str, Any], check: Check | None = None) -> Iterator[None]:
    """Turn whatever is raised into a counterexample to a property."""
    try:
        yield
    except CounterExample:
        raise
    except Exception as error:
        found = CounterExample(name, example, error, check=check)
    else:
        return
    raise found from None


def _code(example: Mapping[str, Any], check: Check | None) -> str:
    values = [] if check and check.setup else [f"{name} = {code_of(value)}" for name, value in example.items()]
    objects = list(example.values())
    if check:
        values += [line for line in (check.setup, check.code) if line]
        objects += [check.assertion, *check.options.values()]
    modules = dict(found for value in objects if (found := module_of(value)))
    return with_imports("\n".join(values), {"crossing": _ASSERTIONS, **modules})


_ASSERTIONS = "gemnet_blocks.testing.assertions"


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
