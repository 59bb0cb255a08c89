"""YAML files that map names to names, read so that no name changes on the way.

YAML would read the class names `no`, `007` and `2020-01-01` as a truth value, a number and a date, and would keep the
last of two equal keys without a word. Here every scalar stays the text that stands in the file, only null is None, and
a key that stands there twice is an error.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from eyebright.errors import DataError

MAX_DEPTH = 6
_NULL = "tag:yaml.org,2002:null"


def read_mapping(path: Path, what: str) -> dict[str, Any]:
    """The mapping in a YAML file: values are text, None, or lists and mappings of such.

    Args:
        path: the file, in UTF-8.
        what: what the file is to the user, for messages, as "the class mapping".

    Raises:
        DataError: the file cannot be read, is no YAML mapping, or has a key twice.
    """
    try:
        # Only the nodes are composed: nothing in the file is constructed or called.
        node = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"{what} {path} cannot be read: {reason}", expected="a YAML file in UTF-8") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1}, column {mark.column + 1})" if mark is not None else ""
        raise DataError(
            f"{what} {path} is not valid YAML: {getattr(error, 'problem', None) or error}{where}",
            expected="a YAML mapping, a line `name: value` for each entry",
        ) from error
    if node is None:
        return {}
    if not isinstance(node, yaml.MappingNode):
        raise DataError(
            f"{what} {path} does not hold a mapping", expected="a YAML mapping, a line `name: value` for each entry"
        )
    content: dict[str, Any] = _value(node, f"{what} {path}", MAX_DEPTH)
    return content


def _value(node: yaml.Node, where: str, depth: int) -> Any:
    if isinstance(node, yaml.ScalarNode):
        return None if node.tag == _NULL else str(node.value)
    if depth == 0:
        raise DataError(f"{where} is nested deeper than {MAX_DEPTH} levels at line {node.start_mark.line + 1}")
    if isinstance(node, yaml.SequenceNode):
        return [_value(child, where, depth - 1) for child in node.value]
    assert isinstance(node, yaml.MappingNode)
    content: dict[str, Any] = {}
    first_line: dict[str, int] = {}
    for key_node, child in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            raise DataError(f"{where} has a key that is no name (line {line})", expected="text before the colon")
        key = str(key_node.value)
        if key in content:
            raise DataError(
                f"{where} says {key!r} twice (lines {first_line[key]} and {line})",
                expected="every name once",
                remedy="remove one of the two lines",
            )
        first_line[key] = line
        content[key] = _value(child, where, depth - 1)
    return content
