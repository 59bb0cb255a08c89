"""Recipes: named presets that plan and fit. Importing this package imports no torch; `get_recipe` does."""

from eyebright.recipes.registry import BY_SYSTEM, SUMMARIES, SYSTEMS, as_yaml, get_recipe, settings_of

__all__ = ["BY_SYSTEM", "SUMMARIES", "SYSTEMS", "as_yaml", "get_recipe", "settings_of"]
