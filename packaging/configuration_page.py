"""Write docs/configuration.md from the configuration tree: `python packaging/configuration_page.py`."""

from __future__ import annotations

from pathlib import Path

from eyebright.config import Part, TrainConfig

PAGE = Path(__file__).resolve().parents[1] / "docs" / "configuration.md"
# Keys without a default that no recipe fills in.
NOT_OF_THE_RECIPE = ("epochs", "superclass")
HEAD = """\
# Configuration

One tree decides what a run does. A recipe fills it first, then a YAML file (`--config FILE`), then `--set key=value`,
then the options of the command; later ones win. What ran is written to the run's `config.yaml`. Unknown keys are
refused with the nearest known one. The defaults below are those of `auto`.

This page is made from the code by `python packaging/configuration_page.py`.
"""


def page() -> str:
    """The whole page."""
    return HEAD + "".join(_section(TrainConfig, ""))


def _section(part: type[Part], prefix: str) -> list[str]:
    fields = part.model_fields.items()
    nested = {name: field for name, field in fields if _is_part(field.annotation)}
    title = f"`{prefix.rstrip('.')}`" if prefix else "The run"
    summary = "" if not prefix else f"{(part.__doc__ or '').splitlines()[0]}\n\n"
    lines = [f"\n## {title}\n\n{summary}| key | default | meaning |\n|---|---|---|\n"]
    for name, field in fields:
        if name not in nested:
            by_recipe = field.default is None and name not in NOT_OF_THE_RECIPE
            default = "decided by the recipe" if by_recipe else f"`{field.default}`"
            meaning = " ".join((field.description or "").split())
            lines.append(f"| `{prefix}{name}` | {default} | {meaning} |\n")
    for name, field in nested.items():
        assert field.annotation is not None
        lines += _section(field.annotation, f"{prefix}{name}.")
    return lines


def _is_part(annotation: object) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Part)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
