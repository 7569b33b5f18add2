"""Search for counterexamples to properties, and the error that reports a counterexample as code."""

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
    """An assertion about a model that can be called with values by name and be printed as code.

    Attributes:
        assertion: function that is called as assertion(model, value, …, option=…).
        model: model under test.
        values: names of the values in the order of the assertion's arguments.
        options: further arguments by name; None stands for the default of the assertion.
        setup: code that creates the values, if it is shorter than their own code.
    """

    assertion: Callable[..., object]
    model: Any
    values: tuple[str, ...] = ("structures",)
    options: Mapping[str, Any] = field(default_factory=dict)
    setup: str = ""

    def __call__(self, **values: Any) -> None:
        """Call the assertion with these values; values that the assertion does not take are ignored."""
        self.assertion(self.model, *(values[name] for name in self.values), **self._given())

    @property
    def code(self) -> str:
        """The code of the call, without that of its values."""
        options = [f"{name}={value!r}" for name, value in self._given().items()]
        return f"{self.assertion.__name__}({', '.join(['model', *self.values, *options])})"

    def _given(self) -> dict[str, Any]:
        return {name: value for name, value in self.options.items() if value is not None}


class CounterExample(AssertionError):  # noqa: N818 (named after its content)
    """Error for a violated property, with the smallest counterexample that was found.

    The code of an error `found` reproduces the failure:

        exec(found.code, {"model": found.model})

    It can be copied to a test file that has a `model`. To examine a structure:

        from gemnet_blocks.testing.models import to_ase
        atoms = to_ase(found.example["structures"])[0]

    Attributes:
        property: name of the property.
        example: values by name that violate the property.
        error: error that the check raised.
        model: model or basis under test; for `assert_interaction`, the small model with the interaction. None if the
            check does not have a model, and after unpickling.
        code: Python code with imports that creates the values and makes the failing call.
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
        # without the model, since not every callable can be pickled
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
    """Convert any error to a counterexample to a property."""
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
"""A strategy, or a function that returns a strategy for the values drawn so far, by name."""


def search(check: Callable[..., None], property_name: str, examples: int = 50, **strategies: Strategy) -> None:
    """Search for values for which a check fails, and report the smallest ones.

    The search is deterministic; it neither stores nor prints anything.

    Args:
        check: function that takes the values by name and raises any error if the property is violated. The error
            shows the model and the call of a `Check`.
        property_name: name of the property in errors.
        examples: number of examples to try.
        strategies: a strategy for each argument, or a function that returns a strategy and takes a mapping of the
            arguments drawn so far.

    Raises:
        CounterExample: the property is violated.
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
        except HypothesisException:  # raised by `assume`
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
        # hypothesis repeats the smallest example at the end
        found = CounterExample(property_name, *failures[-1], note=_note(error, failures[-1][1]), check=check)
    else:
        return
    raise found from None


def _note(raised: BaseException, failure: Exception) -> str:
    if raised is failure:
        return ""
    return "The check is not deterministic: it did not fail every time for the same values.\n"
