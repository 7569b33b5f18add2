from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from small_specs import error_of

from gemnet_blocks.basis.envelopes import Envelope, Exponential
from gemnet_blocks.basis.radial import Gaussian, RadialBasis
from gemnet_blocks.interactions.interaction import Interaction, InteractionOptions
from gemnet_blocks.interactions.triplet import TripletInteraction, TripletOptions
from gemnet_blocks.options import Options
from gemnet_blocks.spec.catalog import BASE_CLASSES, BUILT_IN, ENVELOPE, INTERACTION, RADIAL, Catalog, did_you_mean


class StepOptions(Options):
    type: str


class Step(Envelope):
    Options = StepOptions

    @classmethod
    def from_options(cls, options: StepOptions) -> Step:
        return cls()

    def forward(self, scaled_distance: Any) -> Any:
        return (scaled_distance < 1).to(scaled_distance.dtype)


class Message(Interaction[None]):
    Options = InteractionOptions
    writes = "atoms"

    @classmethod
    def shared_geometry(cls, options: Any, context: Any) -> Any: ...

    @classmethod
    def from_options(cls, options: Any, context: Any) -> Any: ...

    def forward(self, embeddings: Any, geometry: None) -> Any: ...


@pytest.mark.parametrize("kind", list(BUILT_IN))
def test_built_in_parts_fit_their_kind(kind: str) -> None:
    for name, part in BUILT_IN[kind].items():
        assert issubclass(part, BASE_CLASSES[kind])
        assert part.Options.model_fields["type"].default == name
        assert Catalog().find(kind, name) is part


def test_the_same_name_in_two_kinds() -> None:
    assert Catalog().find(RADIAL, "gaussian") is Gaussian
    assert Catalog().find(INTERACTION, "gaussian") is None


def test_own_parts() -> None:
    catalog = Catalog({"step": Step, "message": Message})
    assert catalog.find(ENVELOPE, "step") is Step
    assert catalog.find(INTERACTION, "step") is None
    assert catalog.find(ENVELOPE, "exponential") is Exponential
    assert catalog.names(ENVELOPE) == ["polynomial", "exponential", "step"]
    assert Catalog().plus({"step": Step}, allow_imports=True) == Catalog({"step": Step}, True)
    assert catalog.plus(None, allow_imports=False) == catalog


class NoOptions(Step):
    Options = dict  # type: ignore[assignment]


class OptionsWithoutType(Step):
    Options = Options


class OtherOptions(Message):
    Options = StepOptions  # type: ignore[assignment]


class FixedType(Message):
    Options = TripletOptions


class WritesNothing(Message):
    writes = "edge"  # type: ignore[assignment]


class Abstract(RadialBasis):
    Options = StepOptions


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (
            Step(),
            "extra['mine'] is Step(): expected a subclass of Interaction or AtomEmbedding or RadialBasis or Envelope",
        ),
        (dict, "extra['mine'] is <class 'dict'>: expected a subclass of"),
        (Abstract, "extra['mine']: the class Abstract is abstract: implement from_options, raw"),
        (
            NoOptions,
            "the class NoOptions needs an attribute `Options`: a subclass of gemnet_blocks.options.Options with",
        ),
        (OptionsWithoutType, "with a field `type: str`"),
        (
            OtherOptions,
            "needs an attribute `Options`: a subclass of gemnet_blocks.interactions.interaction.InteractionOptions",
        ),
        (FixedType, "the field `type` of TripletOptions takes 'triplet' only, not 'mine': declare it as `type: str`"),
        (WritesNothing, "the class WritesNothing needs an attribute `writes`, 'edges' or 'atoms'"),
    ],
)
def test_unusable_classes(part: Any, message: str) -> None:
    assert message in error_of(Catalog, {"mine": part})


def test_built_in_names_are_taken() -> None:
    assert error_of(Catalog, {"triplet": TripletInteraction}) == (
        "extra['triplet']: a built-in part has this name: choose another"
    )
    assert Catalog({"legendre": Step}).find(ENVELOPE, "legendre") is Step  # another kind's


MODULES = {
    "fine": "from test_catalog import Step\n",
    "broken_syntax": "def\n",
    "raises": "raise ValueError('no')\n",
    "exits": "from os import missing\n",
}


@pytest.fixture
def _modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in MODULES.items():
        (tmp_path / f"catalog_{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("_modules")
def test_imports() -> None:
    assert Catalog(allow_imports=True).find(ENVELOPE, "catalog_fine:Step") is Step
    assert Catalog().find(ENVELOPE, "catalog_fine:Step") is None
    assert Catalog({"catalog_fine:Step": Step}).find(ENVELOPE, "catalog_fine:Step") is Step  # passed, not imported


@pytest.mark.usefixtures("_modules")
@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("catalog_fine:Stepp", "AttributeError: module 'catalog_fine' has no attribute 'Stepp'"),
        ("catalog_missing:Step", "ModuleNotFoundError: No module named 'catalog_missing'"),
        ("catalog_broken_syntax:Step", "SyntaxError"),
        ("catalog_raises:Step", "ValueError: no"),
        ("catalog_exits:Step", "ImportError: cannot import name 'missing'"),
        (":Step", "ValueError: Empty module name"),
        (".x:Step", "TypeError"),
        ("os:system", "expected a subclass of Envelope"),
        ("gemnet_blocks.basis.radial:Gaussian", "expected a subclass of Envelope"),
    ],
)
def test_imports_that_fail(path: str, message: str) -> None:
    error = error_of(Catalog(allow_imports=True).find, ENVELOPE, path)
    assert error.startswith(path)
    assert message in error


def test_unknown_names() -> None:
    catalog = Catalog()
    assert catalog.unknown(RADIAL, "gausian") == (
        "unknown radial basis 'gausian' (for a custom class, write `type: module:Class` and allow imports, "
        "or pass extra={'gausian': ...}); did you mean 'gaussian'?"
    )
    assert catalog.unknown(RADIAL, "xyz").endswith("; known: gaussian, spherical_bessel, bernstein, fourier_bessel")
    assert catalog.unknown(RADIAL, "legendre") == (
        "'legendre' is of the kind circular basis, not radial basis; known: gaussian, spherical_bessel, bernstein, "
        "fourier_bessel"
    )
    assert catalog.unknown(RADIAL, "my_lab:Basis") == (
        "my_lab:Basis would import code from the module my_lab: if you trust the author of this file, allow it with "
        "`--allow-imports`, in Python with allow_imports=True; or pass the class with extra={'my_lab:Basis': ...}"
    )


def test_did_you_mean() -> None:
    assert did_you_mean("quadruplett", ["triplet", "quadruplet"]) == "; did you mean 'quadruplet'?"
    assert did_you_mean("xyz", ["triplet", "quadruplet"]) == "; known: triplet, quadruplet"
    assert did_you_mean("xyz", []) == ""
