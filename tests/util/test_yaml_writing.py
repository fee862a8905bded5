"""Text that is written as YAML is the same whether libyaml writes it or PyYAML does."""

from __future__ import annotations

import pytest

from harness._util import strict_yaml

TEXTS = (
    *(
        "emoji 😀 cat",
        "a: b",
        "- x",
        "multi\nline text",
        "trailing ",
        "long " * 60,
        '"q"',
        "it's",
        "tab\tx",
        "null",
    ),
    *(
        "1e3",
        "yes",
        "#c",
        "猫 " * 80,
        "\x85x",
        "",
        "ends\n",
        "x\u2028y",
        "0x1f",
        "a\\b",
        "\\U0001F600",
        "\x07bell",
    ),
)


@pytest.mark.parametrize("text", TEXTS)
def test_both_writers_agree(text: str) -> None:
    data = {"prompt": text, "nested": {"list": [text, 1, None, 0.5]}}
    written = strict_yaml.write_yaml(data)
    assert written == strict_yaml._dump(data, strict_yaml._Dumper)
    assert strict_yaml.read_yaml(written) == data
