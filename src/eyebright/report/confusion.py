"""The section about confusions: the matrix with the orders that it can be sorted in, and the pairs most confused.

The page draws the matrix itself (`templates/confusion.js`); what stands here without a script is a table or a picture.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering
from scipy.spatial.distance import squareform

from eyebright.evaluation.intervals import Integers
from eyebright.evaluation.metrics import Metrics
from eyebright.report import charts, wording
from eyebright.report.section import Section

TABLE_CLASSES = 12
LABELLED_CLASSES = 40
NAME_ORDER_CLASSES = 20
"""Up to so many classes the matrix begins in the order of their names; beyond it, with confused classes together."""
_ORDERED_LEAVES = 300
_TITLE = "Confusion matrix: true classes in rows, predicted classes in columns"


def confusion_section(metrics: Metrics, *, split: str) -> Section:
    """The section, from the counts of the metrics; `split` is the split in words."""
    number = len(metrics.classes)
    chart = None
    if number > TABLE_CLASSES:
        chart = charts.heat_map(metrics.confusion, metrics.classes, _TITLE, labels=number <= LABELLED_CLASSES)
    context = {
        "metrics": metrics,
        "split": split,
        "finding": wording.confusion_finding(metrics),
        "pairs": wording.confused_pairs(metrics, 12),
        "chart": chart,
        "supports": [max(1, sum(row)) for row in metrics.confusion],
        "data": matrix_data(metrics),
        "several": number > 2,
    }
    return Section("confusion", "What it confuses", "confusion.html", context)


def matrix_data(metrics: Metrics) -> str:
    """What the script draws from: names, cells that are not zero as row, column, count, and the orders."""
    counts = np.asarray(metrics.confusion, dtype=np.int64)
    rows, columns = np.nonzero(counts)
    cells = np.column_stack([rows, columns, counts[rows, columns]]).ravel()
    first = "name" if len(counts) <= NAME_ORDER_CLASSES else "together"
    values: dict[str, Any] = {
        "classes": list(metrics.classes), "cells": cells.tolist(), "orders": orders(metrics), "first": first
    }  # fmt: skip
    return json.dumps(values, ensure_ascii=False, separators=(",", ":"))


def orders(metrics: Metrics) -> dict[str, list[int]]:
    """Orders of the classes: by name, size (largest first), recall (lowest first), and confused ones together."""
    places = range(len(metrics.classes))
    rows = metrics.per_class
    return {
        "name": sorted(places, key=lambda place: metrics.classes[place].casefold()),
        "size": sorted(places, key=lambda place: -rows[place].support),
        "recall": sorted(places, key=lambda place: (rows[place].support == 0, rows[place].recall.value)),
        "together": together(np.asarray(metrics.confusion, dtype=np.int64)),
    }


def together(confusion: Integers) -> list[int]:
    """An order (K,) in which classes that are confused with each other are neighbours.

    Classes are joined by average linkage on how often one is taken for the other, and the leaves are turned so that
    neighbours are as alike as the tree allows (Z. Bar-Joseph et al., Bioinformatics 2001), which for very many classes
    would take long and is left out.

    Args:
        confusion: counts (K, K), true classes in rows.
    """
    number = len(confusion)
    if number < 3:
        return list(range(number))
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    nearness = (shares + shares.T) / 2
    # The root keeps rare confusions apart from none at all.
    distances = 1 - np.sqrt(np.clip(nearness, 0, 1))
    np.fill_diagonal(distances, 0)
    condensed = squareform(distances, checks=False)
    tree = linkage(condensed, method="average")
    if number <= _ORDERED_LEAVES:
        tree = optimal_leaf_ordering(tree, condensed)
    return [int(leaf) for leaf in leaves_list(tree)]
