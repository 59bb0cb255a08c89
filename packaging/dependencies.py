"""Print what `pip install` needs for development: the dependencies of pyproject.toml and of the extras in `EXTRAS`."""

import tomllib
from pathlib import Path

EXTRAS = ("dev", "audit", "hub", "tensorboard", "albumentations", "openvino")

project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
optional = [name for extra in EXTRAS for name in project["optional-dependencies"][extra]]
print(*(name.replace(" ", "") for name in [*project["dependencies"], *optional]))
