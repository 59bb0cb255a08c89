"""Print what `pip install` needs for development: the dependencies of pyproject.toml and of its extra `dev`."""

import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
print(*(name.replace(" ", "") for name in [*project["dependencies"], *project["optional-dependencies"]["dev"]]))
