"""Which images belong together, and where on [0, 1) each lot of them lies.

Images are joined by equal bytes, by the user's groups and by links (near-duplicates that an audit found), also in
chains: they are the connected components of a graph whose nodes are ids and groups.

Every member has a key: the user's group if it has one, else its id. A hash of the seed and the key gives each key a
position in [0, 1). A component lies at the largest position of its keys and is named after that key. An image that
joins a component can therefore only move it upwards, and one that leaves it only downwards.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from eyebright.data.codes import as_codes

Links = npt.NDArray[np.str_] | npt.NDArray[np.object_] | Sequence[tuple[str, str]]

_PART_KEYS = 65_536


class Components(NamedTuple):
    """C components of N images.

    Attributes:
        of_row: number of the component of each image, int64 (N,).
        names: the key that each is named after, Arrow strings (C,).
        positions: where each lies, float64 (C,), at least 0 and less than 1.
    """

    of_row: npt.NDArray[np.int64]
    names: pa.Array
    positions: npt.NDArray[np.float64]


def find_components(ids: pa.ChunkedArray, groups: pa.ChunkedArray, links: Links, seed: int) -> Components:
    """The components of N images.

    Args:
        ids: content ids, none null.
        groups: the user's groups, or null. A group and an id that are spelled alike count as one.
        links: pairs of ids; a pair with an id that is not among `ids` joins nothing.
        seed: another seed gives other positions.
    """
    count = len(ids)
    codes, nodes = as_codes(pa.chunked_array([*ids.chunks, *groups.chunks], pa.string()))
    id_nodes, group_nodes = codes[:count], codes[count:]
    grouped = group_nodes >= 0
    left, right = _linked_nodes(nodes, links)
    component_of_node = _connect(
        len(nodes), np.concatenate([id_nodes[grouped], left]), np.concatenate([group_nodes[grouped], right])
    )
    is_key = np.zeros(len(nodes), dtype=np.bool_)
    is_key[np.where(grouped, group_nodes, id_nodes)] = True
    keys = np.flatnonzero(is_key)
    hashes = _hashes(nodes.take(pa.array(keys)), seed)
    # The last key of each component is the one with the largest hash.
    component_of_key = component_of_node[keys]
    order = np.lexsort((hashes, component_of_key))
    last = order[np.flatnonzero(np.diff(component_of_key[order], append=-1))]
    return Components(
        of_row=component_of_node[id_nodes], names=nodes.take(pa.array(keys[last])), positions=_unit(hashes[last])
    )


def position(key: str, seed: int) -> float:
    """Where in [0, 1) a key lies: the first 64 bits of BLAKE2b over the seed and the key."""
    return float(_unit(_hashes(pa.array([key]), seed))[0])


def _hashes(keys: pa.Array, seed: int) -> npt.NDArray[np.uint64]:
    prefix, blake2b = f"{seed}\n".encode(), hashlib.blake2b
    hashes = np.empty(len(keys), dtype=np.uint64)
    for start in range(0, len(keys), _PART_KEYS):
        part = keys.slice(start, _PART_KEYS).cast(pa.binary()).to_pylist()
        digests = b"".join([blake2b(prefix + key, digest_size=8).digest() for key in part])
        hashes[start : start + len(part)] = np.frombuffer(digests, dtype=">u8")
    return hashes


def _unit(hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.float64]:
    return hashes.astype(np.float64) / 2.0**64


def _linked_nodes(nodes: pa.Array, links: Links) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    if not len(links):
        nothing = np.zeros(0, dtype=np.int64)
        return nothing, nothing
    pairs = np.asarray(links, dtype=object).reshape(-1, 2)
    ends = [np.asarray(pc.index_in(pa.array(column, pa.string()), value_set=nodes).fill_null(-1)) for column in pairs.T]
    known = (ends[0] >= 0) & (ends[1] >= 0)
    return ends[0][known].astype(np.int64), ends[1][known].astype(np.int64)


def _connect(nodes: int, left: npt.NDArray[np.int64], right: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    graph = coo_array((np.ones(len(left), dtype=np.int8), (left, right)), shape=(nodes, nodes))
    _, component_of_node = connected_components(graph, directed=False)
    return np.asarray(component_of_node, dtype=np.int64)
