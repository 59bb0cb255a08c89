"""Embeddings of images by a pretrained network, computed once for each image and kept in the cache by content id.

The fastest runtime that gives torch's features computes them (`eyebright.runtimes.trial`); the graph that other
runtimes than torch need is exported once and kept too.

    embeddings/<network>-<size>-<key>/graph.onnx     the exported graph
    embeddings/<network>-<size>-<key>/<name>.npz     ids and float16 features of up to `_PART_IMAGES` images
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import PIL
import torch

from eyebright.allocator import keep_freed_memory
from eyebright.atomic import explained, replacing_file
from eyebright.cores import available_cores
from eyebright.data.cache import mark_used
from eyebright.data.sources import Source
from eyebright.decode import UndecodableImage
from eyebright.models.catalog import create_network, network_facts
from eyebright.preprocess import Preprocess
from eyebright.progress import Progress
from eyebright.runtimes.runners import Pixels
from eyebright.runtimes.trial import Chosen, choose_runtime

DEFAULT_NETWORK = "tf_efficientnet_lite0"
EMBEDDINGS_VERSION = 1

_BATCH_IMAGES = 32
_PART_IMAGES = 4096


@dataclasses.dataclass(frozen=True, kw_only=True)
class Embedder:
    """A pretrained network that turns images into vectors.

    Attributes:
        cache: root of the cache.
        device: where to compute.
        network: timm name; its pretrained weights are used.
        size: side of its input in pixels.
        features: what computes: `auto`, or a runtime to take without a trial; see `compute.features`.
    """

    cache: Path
    device: torch.device
    network: str = DEFAULT_NETWORK
    size: int = 224
    features: str = "auto"

    def embed(
        self, ids: Sequence[str], sources: Sequence[str], source: Source, *, progress: Progress
    ) -> tuple[npt.NDArray[np.float32], dict[str, tuple[str, str]]]:
        """Vectors of length one, float32 (N, F), in the order of `ids`; zeros for an image that cannot be decoded.

        Args:
            ids: content ids; one that occurs twice is computed once.
            sources: where each of them is, as `source.read` takes it.
            source: what reads the images.
            progress: told about the images that are not in the cache yet.

        Returns:
            The vectors, and (status, reason) by id of the images that could not be decoded.

        Raises:
            MissingDependencyError: the pretrained weights cannot be had here.
            StorageError: the cache cannot be written.
        """
        where = dict(zip(ids, sources, strict=True))
        known = self._known(set(where))
        missing = [image for image in where if image not in known]
        failures: dict[str, tuple[str, str]] = {}
        if missing:
            with progress.task("embedding images", len(missing)) as task:
                chosen: Chosen | None = None
                for start in range(0, len(missing), _PART_IMAGES):
                    part: dict[str, npt.NDArray[np.float16]] = {}
                    names = missing[start : start + _PART_IMAGES]
                    for batch, pixels, failed in self._decoded(names, where, source):
                        failures |= failed
                        if batch:
                            if chosen is None:
                                chosen = self._chosen(pixels, len(missing))
                                progress.note(chosen.sentence)
                            part |= dict(zip(batch, chosen.run(pixels).astype(np.float16), strict=True))
                        task.advance(len(batch) + len(failed))
                    self._keep(part)
                    known |= part
        width = len(next(iter(known.values()))) if known else 1
        vectors = np.zeros((len(ids), width), dtype=np.float32)
        for row, image in enumerate(ids):
            if image in known:
                vectors[row] = known[image]
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors /= np.where(lengths > 0, lengths, 1.0)
        return vectors, failures

    @property
    def preprocess(self) -> Preprocess:
        """What the network sees of an image: all of it but what is beyond the centre square."""
        facts = network_facts(self.network)
        return Preprocess(size=self.size, resize="crop", resize_to=self.size, mean=facts.mean, std=facts.std)

    @property
    def folder(self) -> Path:
        """Where the graph and the vectors of this network at this size are kept."""
        decides = [EMBEDDINGS_VERSION, self.preprocess.as_dict(), PIL.__version__, torch.__version__]
        key = hashlib.blake2b(json.dumps(decides).encode(), digest_size=6).hexdigest()
        return self.cache / "embeddings" / f"{self.network.replace('/', '-')}-{self.size}-{key}"

    def _known(self, wanted: set[str]) -> dict[str, npt.NDArray[np.float16]]:
        known: dict[str, npt.NDArray[np.float16]] = {}
        mark_used(self.folder)
        for path in sorted(self.folder.glob("*.npz")):
            try:
                with open(path, "rb") as handle, np.load(handle, allow_pickle=False) as part:
                    ids = part["ids"].astype(str)
                    rows = [row for row, image in enumerate(ids) if image in wanted]
                    if rows:
                        known |= dict(zip(ids[rows].tolist(), part["features"][rows], strict=True))
            except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
                path.unlink(missing_ok=True)  # damaged: what it held is computed again
        return known

    def _keep(self, part: dict[str, npt.NDArray[np.float16]]) -> None:
        if not part:
            return
        name = hashlib.blake2b("\n".join(sorted(part)).encode(), digest_size=12).hexdigest()
        with explained(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            with replacing_file(self.folder / f"{name}.npz") as temporary, open(temporary, "wb") as handle:
                np.savez(handle, ids=np.array(list(part), dtype="S32"), features=np.stack(list(part.values())))

    def _decoded(
        self, ids: Sequence[str], where: dict[str, str], source: Source
    ) -> Iterator[tuple[list[str], npt.NDArray[np.uint8], dict[str, tuple[str, str]]]]:
        """Batches of ids with their pixels, and what failed; the next batch is decoded while one is in use."""
        preprocess = self.preprocess

        def look(image: str) -> npt.NDArray[np.uint8] | tuple[str, str]:
            try:
                return preprocess.pixels(source.read(where[image]))
            except UndecodableImage as error:
                return error.status, error.problem

        batches = [ids[start : start + _BATCH_IMAGES] for start in range(0, len(ids), _BATCH_IMAGES)]
        pool = ThreadPoolExecutor(max_workers=available_cores())
        try:
            pending = [[pool.submit(look, image) for image in batch] for batch in batches[:2]]
            for number, batch in enumerate(batches):
                looked = [future.result() for future in pending.pop(0)]
                if number + 2 < len(batches):
                    pending.append([pool.submit(look, image) for image in batches[number + 2]])
                good = [
                    (image, seen) for image, seen in zip(batch, looked, strict=True) if isinstance(seen, np.ndarray)
                ]
                failed = {image: seen for image, seen in zip(batch, looked, strict=True) if isinstance(seen, tuple)}
                pixels = np.stack([seen for _, seen in good]) if good else np.zeros((0, 1, 1, 3), dtype=np.uint8)
                yield [image for image, _ in good], pixels, failed
        finally:
            pool.shutdown(cancel_futures=True)

    def _chosen(self, pixels: Pixels, images: int) -> Chosen:
        """What computes the vectors of so many images, of which `pixels` are the first."""
        if self.device.type == "cpu":
            keep_freed_memory()
        return choose_runtime(
            create_network(self.network, classes=2, pretrained=True).eval(), self.preprocess, device=self.device,
            samples=[pixels], images=images, graph=lambda: self.folder / "graph.onnx", wanted=self.features,
        )  # fmt: skip
