from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from small_specs import error_of

from gemnet_blocks.spec.document import dump, parse_document, parse_value, read_document, shown


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", 12),
        ("-3", -3),
        ("010", 10),
        ("12.0", 12.0),
        ("1e-3", 0.001),
        ("1e1", 10.0),
        (".5", 0.5),
        ("3.", 3.0),
        ("-1.5E+2", -150.0),
        (".inf", math.inf),
        ("-.inf", -math.inf),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("[1, 2]", [1, 2]),
        ("{a: {b: null}}", {"a": {"b": None}}),
    ],
)
def test_plain_values(text: str, value: Any) -> None:
    read = parse_value(text, "value")
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize("text", ["yes", "on", "Off", "1:30", "2020-01-01", "0x1f", "1_000", "2020-13-41", "silu"])
def test_words_with_a_meaning_in_other_yaml_are_text(text: str) -> None:
    assert parse_value(text, "value") == text


@pytest.mark.parametrize("text", ["'12'", '"true"', "'null'", "'1e-3'"])
def test_quotes_make_text(text: str) -> None:
    assert parse_value(text, "value") == text[1:-1]


def test_nan_is_read_and_found() -> None:
    document = parse_document("a: .nan\nb: [1, {c: .inf}]\nd: 99999999999999999999\n", "x")
    found = [document.located(problem) for problem in document.impossible_numbers()]
    assert sorted(found) == [
        "x:1: a: must be finite, got nan",
        "x:2: b.1.c: must be finite, got inf",
        "x:3: d: must be below 2^63, got 99999999999999999999",
    ]


def test_places(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("# comment\nsizes:\n  atom: 3\ngraphs: {main: {cutoff: 1}}\n")
    document = read_document(path)
    assert document.data == {"sizes": {"atom": 3}, "graphs": {"main": {"cutoff": 1}}}
    assert document.place(("sizes", "atom")) == f"{path}:3"
    assert document.place(("graphs", "main", "cutoff")) == f"{path}:4"
    assert document.place(("sizes", "edge")) == f"{path}:2"  # the nearest entry around it
    assert document.place(("heads",)) == str(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "a: 1\nb: !!python/object/apply:os.system ['x']",
            "x:2: tags (!!python/object/apply:os.system) are not supported",
        ),
        ("a: !mine 3", "x:1: tags (!mine) are not supported: remove it"),
        ("a: !!int '3'", "x:1: tags (!!int) are not supported"),
        ("a: &b [1]\nc: *b", "x:2: aliases (*b) are not supported: write the entry out"),
        ("a: {<<: {b: 1}}", "x:1: merge keys (<<) are not supported: write the fields out, or use `extends`"),
        ("a: 1\n\na: 2", "x:3: a is written twice: remove one"),
        ("a: {b: 1, b: 2}", "x:1: a.b is written twice: remove one"),
        ("[1, 2]: x", "x:1: keys must be names"),
        ("~: x", "x:1: keys must be names"),
        ("- 1\n- 2", "x: must be a mapping of fields, such as `sizes:`, not [1, 2]"),
        ("12", "x: must be a mapping of fields, such as `sizes:`, not 12"),
        ("", "x: is empty: write a spec, or `extends: other.yaml` and the differences"),
        ("# only a comment", "x: is empty"),
        ("a: 1\n---\nb: 2", "x:2: invalid YAML: expected a single document"),
        ("a: {b: 1", "x:1: invalid YAML: while parsing a flow mapping, expected ',' or '}'"),
        ("a:\n\tb: 1", "x:2: invalid YAML: while scanning for the next token, found character '\\t'"),
        ("a: \x00", "x: invalid YAML: unacceptable character #x0000"),
        ("a: " + "[" * 5000 + "]" * 5000, "x: is nested too deeply for a spec"),
        ("a: " + "{a: " * 5000 + "1" + "}" * 5000, "x: is nested too deeply for a spec"),
        ("a: " + "9" * 5000, "x:1: expected a number of at most 1,000 digits, found 5000 digits"),
    ],
)
def test_refused(text: str, message: str) -> None:
    assert message in error_of(parse_document, text, "x")
    assert "\n" not in error_of(parse_document, text, "x")


def test_an_alias_bomb_costs_nothing() -> None:
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 60))
    start = time.perf_counter()
    assert "x:2: aliases (*a0) are not supported" in error_of(parse_document, bomb, "x")
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("ok: 1\n# Å\n".encode("latin1"), "a.yaml:2: byte 0xc5 is not UTF-8: save the file as UTF-8"),
        ("a: 1".encode("utf-16"), "a.yaml:1: byte 0xff is not UTF-8: save the file as UTF-8"),
    ],
)
def test_other_encodings(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(content)
    assert error_of(read_document, path) == message


def test_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert read_document(path).data == {"a": 1}


def test_a_directory(tmp_path: Path) -> None:
    (tmp_path / "specs").mkdir()
    assert error_of(read_document, tmp_path / "specs") == "specs: is a directory: name a file in it"


TRICKY = (
    *("1e3", "1.5e3", "yes", "On", "null", "~", "", "12", "010", "1:30", "2020-01-01", ".inf", ".nan", "1_000", "0x1f"),
    *(
        "a: b",
        "# x",
        "- a",
        "<<",
        "=",
        "!!int",
        "&a",
        "*a",
        "two\nlines",
        "  spaces  ",
        "Å",
        "my_lab.blocks:Gated",
        "0o17",
    ),
)


@pytest.mark.parametrize("text", TRICKY)
def test_text_survives(text: str) -> None:
    written = dump({"a": {"b": text, "c": [text]}, text or "empty": text})
    assert parse_document(written, "x").data == {"a": {"b": text, "c": [text]}, text or "empty": text}
    assert yaml.safe_load(written) == {"a": {"b": text, "c": [text]}, text or "empty": text}  # other readers agree


@pytest.mark.parametrize("number", [0.1, 1e-5, 1e300, -0.0, 5.0, 12, 0, 2**60, 1 / 3])
def test_numbers_survive(number: float) -> None:
    read = parse_document(dump({"a": number}), "x").data["a"]
    assert read == number
    assert type(read) is type(number)


def test_dump_is_readable() -> None:
    data = {"sizes": {"atom": 1, "edge": 2}, "graphs": {"quad": {"cutoff": 1.0, "tags": [1, 2]}}, "scale": False}
    assert dump(data) == ("sizes: {atom: 1, edge: 2}\ngraphs:\n  quad: {cutoff: 1.0, tags: [1, 2]}\nscale: false\n")


def test_shown() -> None:
    assert [shown(value) for value in (None, True, "12", 12, [1, "a"], {"a": None})] == [
        "null",
        "true",
        "'12'",
        "12",
        "[1, a]",
        "{a: null}",
    ]
    assert shown(object) == "<class 'object'>"
    assert len(shown("x" * 1000)) == 60
