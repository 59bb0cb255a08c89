"""A plan as a YAML file that a person edits: written to be read and compared, read back with an error for each mistake.

Every scalar is read as the text that stands there (`to: no` is the class `no`, `to: 007` the class `007`), and every
entry remembers its line, so that later messages can name it.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from eyebright.atomic import write_text
from eyebright.data.audit.findings import Action, Audit
from eyebright.data.audit.plan import ACTIONS, Entry, Plan, PlanImage, plan_of
from eyebright.errors import DataError, did_you_mean

PLAN_VERSION = 1

_HEADER = """\
# A plan of changes to a set of images, suggested by `eyebright audit`. It changes nothing until it is applied, and
# nothing on disk is ever moved, renamed or deleted: applying it writes a new manifest, a table that says how each
# image is used. Train on that table as on any other data.
#
#   1. Write `accept: yes` where you agree and `accept: no` where you do not. `to:` may be changed to another class;
#      `new: yes` beside it makes a class that the data do not have yet. Whole entries may be removed or added.
#   2. eyebright audit DATA --apply {name}
#   3. eyebright train {stem}.parquet
#
# Images are recognised by `id`, the hash of their bytes; a changed image is refused, not guessed.
"""
_EXPLAINED: dict[Action, str] = {
    "drop": "Leave the image out. `stays` is the copy that is kept instead, where there is one.",
    "relabel": "Give the image the label `to`.",
    "merge": "Join the class `label` with the class `to`. With `new: yes`, rename it.",
    "group": "Keep these images in one split: one photo in several versions, one scene, one object.",
    "quarantine": "Leave the image out until somebody has looked at it.",
}
_TOP_KEYS = ("version", "eyebright", "data", "fingerprint", "classes", *ACTIONS)
_COMMON_KEYS = ("accept", "label", "reason", "confidence", "finding")
_IMAGE_KEYS = ("image", "images")
_KEYS: dict[Action, tuple[str, ...]] = {
    "drop": (*_COMMON_KEYS, *_IMAGE_KEYS, "stays"),
    "relabel": (*_COMMON_KEYS, *_IMAGE_KEYS, "to", "new", "superclass"),
    "merge": (*_COMMON_KEYS, "to", "new", "superclass"),
    "group": (*_COMMON_KEYS, *_IMAGE_KEYS),
    "quarantine": (*_COMMON_KEYS, *_IMAGE_KEYS),
}
_YES, _NO = ("yes", "true", "on", "y"), ("no", "false", "off", "n")
_ID = re.compile(r"[0-9a-f]{32}")
_PLAIN = re.compile(r"[A-Za-z0-9_./](?:[\w./()+-]|[ ](?![ #])){0,200}(?<! )", re.ASCII)
_LISTED = 10
_LINE_LENGTH = 116
_TEXT_TAG, _NULL_TAG = "tag:yaml.org,2002:str", "tag:yaml.org,2002:null"
_RESOLVER: Any = yaml.resolver.Resolver()
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def write_plan(path: str | os.PathLike[str], plan: Plan | Audit) -> None:
    """Write the suggestions of an audit, or a plan, as YAML, whole or not at all.

    Raises:
        StorageError: the file cannot be written.
    """
    if isinstance(plan, Audit):
        plan = plan_of(plan)
    lines = [
        *_HEADER.format(name=Path(path).name, stem=Path(path).stem).splitlines(),
        "",
        f"version: {PLAN_VERSION}",
        f"eyebright: {_scalar(importlib.metadata.version('eyebright'))}",
        f"data: {_scalar(plan.data)}",
        f"fingerprint: {_scalar(plan.fingerprint)}",
        *_flow_list("classes", plan.classes),
    ]
    for action in ACTIONS:
        entries = [entry for entry in plan.entries if entry.action == action]
        lines += ["", f"# {_EXPLAINED[action]}", f"{action}:" if entries else f"{action}: []"]
        for entry in entries:
            lines += _entry_lines(entry)
    write_text(path, "\n".join(lines) + "\n")


def read_plan(path: str | os.PathLike[str]) -> Plan:
    """Read a plan that a person may have edited.

    Raises:
        DataError: the file is missing, is not YAML or is no plan; or it has unknown keys or actions, images without
            an id, values other than yes and no, or classes that do not exist: each with its line.
    """
    path = Path(path)
    try:
        root = yaml.compose(path.read_text(encoding="utf-8-sig"), Loader=_Loader)
    except FileNotFoundError:
        raise DataError(
            f"there is no plan {path}", expected="a plan written by `eyebright audit DATA --fix plan.yaml`"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"the plan {path} cannot be read: {reason}", expected="a YAML file in UTF-8") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1}, column {mark.column + 1})" if mark is not None else ""
        raise DataError(
            f"{path} is not valid YAML: {getattr(error, 'problem', None) or error}{where}",
            expected="the layout that `eyebright audit DATA --fix plan.yaml` writes",
            remedy="put text that holds `: `, ` #` or quotes into double quotes, and keep the indentation",
        ) from None
    if not isinstance(root, yaml.MappingNode):
        raise DataError(f"{path} is no plan", expected="a plan written by `eyebright audit DATA --fix plan.yaml`")
    return _Reader(path.name).plan(root)


class _Reader:
    """Turns the nodes of a YAML file into a plan; mistakes are collected and raised together."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.mistakes: list[tuple[int, str]] = []

    def plan(self, root: yaml.MappingNode) -> Plan:
        top = self._mapping(root, _TOP_KEYS, "the plan")
        self._check_version(top.get("version"))
        classes = tuple(self._texts(top.get("classes")))
        entries = []
        for action in ACTIONS:
            entries += [self._entry(action, node) for node in self._list(top.get(action), action)]
        found = [entry for entry in entries if entry is not None]
        if classes:
            self._check_classes(found, classes)
        if self.mistakes:
            raise self._error()
        return Plan(
            entries=tuple(found),
            data=self._text(top.get("data")) or "",
            fingerprint=self._text(top.get("fingerprint")) or "",
            classes=classes,
            name=self.name,
        )

    def _entry(self, action: Action, node: yaml.Node) -> Entry | None:
        line = node.start_mark.line + 1
        if not isinstance(node, yaml.MappingNode):
            self._wrong(node, f"an entry of `{action}` has no keys (expected {', '.join(_KEYS[action])})")
            return None
        keys = self._mapping(node, _KEYS[action], f"`{action}`")
        label, to = self._text(keys.get("label")), self._text(keys.get("to"))
        if "accept" not in keys:
            self._wrong(node, "the entry has no `accept: yes` or `accept: no`")
        if action == "merge" and label is None:
            self._wrong(node, "the entry does not say which class to merge: `label` is missing")
        if action in ("relabel", "merge"):
            if to is None:
                self._wrong(node, "the entry does not say which class: `to` is missing")
            elif to == label:
                self._wrong(keys["to"], f"`to` is {to!r}, which is the label already")
        if "superclass" in keys and "new" not in keys:
            self._wrong(keys["superclass"], "`superclass` is for a new class only, beside `new: yes`")
        return Entry(
            action=action,
            accept=self._yes(keys.get("accept")),
            images=() if action == "merge" else self._images(action, node, keys),
            label=label,
            to=to,
            stays=self._image(keys["stays"]) if "stays" in keys else None,
            new=self._yes(keys.get("new")),
            superclass=self._text(keys.get("superclass")),
            reason=self._text(keys.get("reason")) or "",
            confidence=self._share(keys.get("confidence")),
            finding=self._text(keys.get("finding")) or "",
            line=line,
        )

    def _images(self, action: Action, entry: yaml.Node, keys: Mapping[str, yaml.Node]) -> tuple[PlanImage, ...]:
        if "image" in keys and "images" in keys:
            self._wrong(keys["images"], "the entry has both `image` and `images`")
        if "images" in keys:
            nodes = self._list(keys["images"], "images")
        else:
            nodes = [keys["image"]] if "image" in keys else []
        if action == "group" and len(nodes) < 2:
            self._wrong(entry, f"a group of {len(nodes)} image{'s' * (len(nodes) != 1)}: at least two belong together")
        elif not nodes:
            self._wrong(entry, "the entry names no image")
        images = [self._image(node) for node in nodes]
        return tuple(image for image in images if image is not None)

    def _image(self, node: yaml.Node) -> PlanImage | None:
        if not isinstance(node, yaml.MappingNode):
            self._wrong(node, "an image is written {source: PATH, id: ID}, as the audit does")
            return None
        keys = self._mapping(node, ("source", "id"), "an image")
        content, source = self._text(keys.get("id")), self._text(keys.get("source"))
        if content is None:
            self._wrong(node, f"the image {source or ''} has no id".replace("  ", " "))
        elif not _ID.fullmatch(content):
            self._wrong(keys["id"], f"{content!r} is no id (expected 32 hexadecimal digits, as the audit wrote them)")
        if source is None:
            self._wrong(node, f"the image with the id {content} has no source")
        return PlanImage(content or "", source or "")

    def _check_classes(self, entries: Iterable[Entry], classes: tuple[str, ...]) -> None:
        entries = list(entries)
        known = {*classes, *(entry.to for entry in entries if entry.new and entry.to)}
        for entry in entries:
            named = [entry.to] if entry.action in ("relabel", "merge") else []
            if entry.action == "merge":
                named.append(entry.label)
            for name in named:
                if name is not None and name not in known:
                    hint = did_you_mean(name, classes)
                    new = "; `new: yes` makes a new class" if name == entry.to else ""
                    self.mistakes.append((entry.line, f"there is no class {name!r}{hint}{new}"))

    def _check_version(self, node: yaml.Node | None) -> None:
        version = self._text(node)
        if version is None or not version.isdigit():
            raise DataError(
                f"{self.name} does not say which version of a plan it is",
                expected=f"`version: {PLAN_VERSION}` at the top",
                remedy="start from a plan written by `eyebright audit DATA --fix plan.yaml`",
            )
        if int(version) > PLAN_VERSION:
            raise DataError(
                f"the plan {self.name} has version {version}",
                expected=f"version {PLAN_VERSION} or earlier",
                remedy="update Eyebright",
            )

    def _mapping(self, node: yaml.MappingNode, known: Iterable[str], owner: str) -> dict[str, yaml.Node]:
        known = tuple(known)
        found: dict[str, yaml.Node] = {}
        for key_node, value in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else "?"
            if key not in known:
                where = next((action for action, keys in _KEYS.items() if key in keys), None)
                hint = did_you_mean(key, known) or (f" (it belongs to `{where}`)" if where else "")
                self._wrong(key_node, f"unknown key {key!r} of {owner}{hint}; the keys are {', '.join(known)}")
            elif key in found:
                self._wrong(key_node, f"the key {key!r} of {owner} occurs twice")
            else:
                found[key] = value
        return found

    def _list(self, node: yaml.Node | None, owner: str) -> list[yaml.Node]:
        if node is None or _is_null(node):
            return []
        if isinstance(node, yaml.SequenceNode):
            return list(node.value)
        self._wrong(node, f"`{owner}` is no list: every entry starts with a dash")
        return []

    def _texts(self, node: yaml.Node | None) -> list[str]:
        return [text for item in self._list(node, "classes") if (text := self._text(item)) is not None]

    def _text(self, node: yaml.Node | None) -> str | None:
        if node is None or _is_null(node):
            return None
        if isinstance(node, yaml.ScalarNode):
            return str(node.value)
        self._wrong(node, "a list or a mapping stands where one value is expected")
        return None

    def _yes(self, node: yaml.Node | None) -> bool:
        if node is None:
            return False
        text = (self._text(node) or "").strip().lower()
        if text not in _YES + _NO:
            self._wrong(node, f"{text!r} is neither yes nor no{did_you_mean(text, ('yes', 'no'))}")
        return text in _YES

    def _share(self, node: yaml.Node | None) -> float:
        text = self._text(node)
        if node is None or text is None:
            return 1.0
        try:
            share = float(text)
        except ValueError:
            share = -1.0
        if not 0 <= share <= 1:
            self._wrong(node, f"the confidence {text!r} is no number from 0 to 1")
        return share

    def _wrong(self, node: yaml.Node, mistake: str) -> None:
        self.mistakes.append((node.start_mark.line + 1, mistake))

    def _error(self) -> DataError:
        mistakes = sorted(set(self.mistakes))
        listed = "".join(f"\n  line {line}: {mistake}" for line, mistake in mistakes[:_LISTED])
        more = f"\n  and {len(mistakes) - _LISTED} more" if len(mistakes) > _LISTED else ""
        number = "a mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
        return DataError(
            f"{self.name} has {number}:{listed}{more}",
            expected="the layout that `eyebright audit DATA --fix plan.yaml` writes",
            remedy=f"correct {self.name}; nothing has been applied",
        )


def _is_null(node: yaml.Node) -> bool:
    return bool(node.tag == _NULL_TAG)


def _entry_lines(entry: Entry) -> list[str]:
    lines = [f"accept: {_yes_no(entry.accept)}"]
    if len(entry.images) == 1 and entry.action != "group":
        lines.append(f"image: {_image_text(entry.images[0])}")
    elif entry.images:
        lines += ["images:", *(f"  - {_image_text(image)}" for image in entry.images)]
    for key, value in (("label", entry.label), ("to", entry.to)):
        if value is not None:
            lines.append(f"{key}: {_scalar(value)}")
    if entry.new:
        lines.append("new: yes")
    if entry.superclass is not None:
        lines.append(f"superclass: {_scalar(entry.superclass)}")
    if entry.stays is not None:
        lines.append(f"stays: {_image_text(entry.stays)}")
    for key, value in (("reason", entry.reason), ("finding", entry.finding)):
        if value:
            lines.append(f"{key}: {_scalar(value)}")
    lines.append(f"confidence: {entry.confidence:.4g}")
    return [f"  {'-' if number == 0 else ' '} {line}" for number, line in enumerate(lines)]


def _image_text(image: PlanImage) -> str:
    return f"{{source: {_scalar(image.source)}, id: {_scalar(image.id)}}}"


def _yes_no(value: bool) -> str:
    return "yes" if value else "no"


def _flow_list(key: str, values: Iterable[str]) -> list[str]:
    """`key: [a, b, ...]`, broken between values where a line gets long."""
    lines, current = [], f"{key}: ["
    for number, value in enumerate(values):
        item = (", " if number else "") + _scalar(value)
        if len(current) + len(item) > _LINE_LENGTH and number:
            lines.append(current + ",")
            current = "  " + _scalar(value)
        else:
            current += item
    return [*lines, current + "]"]


def _scalar(text: str) -> str:
    """The text as YAML on one line: bare where every reader takes it as text, else in double quotes."""
    if _PLAIN.fullmatch(text) and _RESOLVER.resolve(yaml.ScalarNode, text, (True, False)) == _TEXT_TAG:
        return text
    dumped: str = yaml.safe_dump(text, default_style='"', allow_unicode=True, width=float("inf"))
    return dumped.rstrip("\n")
