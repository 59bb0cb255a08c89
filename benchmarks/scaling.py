"""Predicted time and cost of large trainings and predictions, from rates: the arithmetic of `scale_cost.py`. No torch.

What a step takes is what its slowest part takes, since decoding, reading and computing work side by side:

    compute   = B / r                                      B images a step on each device at r images/s
    exchange  = 2 (n - 1) / n * g / w                      ring all-reduce of g bytes of gradients over w bytes/s
    exposed   = max(0, exchange - o * compute)             what the backward pass (the share o of a step) does not hide
    decode    = B / (c * d)                                c cores a device, d images/s each; no part once packed
    storage   = B * n * b / s                              b bytes an image, s bytes/s of the storage for all devices;
                                                           a pass that writes the pack moves its bytes as well
    step      = max(compute + exposed, decode, storage)

The all-reduce is that of P. Patarasuk and X. Yuan (Bandwidth optimal all-reduce algorithms for clusters of
workstations, Journal of Parallel and Distributed Computing 69, 2009). A pass over N images is N / (B n) steps.
"""

from __future__ import annotations

import dataclasses

GIBIBYTE = 2**30
HOUR_SECONDS = 3600.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Work:
    """What is to be done.

    Attributes:
        name: for the table.
        images: how many there are.
        passes: epochs of training, or 1 for a prediction.
        batch: images a step on each device.
        gradient_bytes: exchanged between the devices after each step; 0 where nothing is.
        stored_bytes: of an image as it lies in the storage, compressed.
        packed_bytes: of an image in the pack.
        pack: whether the images are decoded once, and read from the pack from the second pass on.
    """

    name: str
    images: int
    passes: int
    batch: int
    gradient_bytes: float
    stored_bytes: float
    packed_bytes: float
    pack: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Machines:
    """What it is done on.

    Attributes:
        devices: GPUs, or machines without one.
        device_rate: images/s that one device computes when nothing holds it up.
        cores: CPU cores that decode for each device.
        decode_rate: images/s that one core decodes and resizes.
        network_bytes: a second, of the slowest link in the ring of devices.
        overlap: share of a step's computing in which gradients can be exchanged.
        storage_bytes: a second, that the storage gives to all devices together.
        price: of a device with its cores, an hour.
    """

    devices: int
    device_rate: float
    cores: float
    decode_rate: float
    network_bytes: float
    overlap: float
    storage_bytes: float
    price: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Step:
    """Seconds that each part of a step takes when nothing else holds it up."""

    compute: float
    exchange: float
    exposed: float
    decode: float
    storage: float

    @property
    def seconds(self) -> float:
        """What the step takes."""
        return max(self.compute + self.exposed, self.decode, self.storage)

    @property
    def limit(self) -> str:
        """The part that decides: `decode`, `storage`, `network` or `compute`."""
        if self.seconds > self.compute + self.exposed:
            return "decode" if self.decode >= self.storage else "storage"
        return "network" if self.exposed > 0 else "compute"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prediction:
    """What comes out.

    Attributes:
        seconds: of everything.
        cost: in the currency of the price.
        rate: images/s of all devices in the passes after the first, or in the only one.
        efficiency: that rate as a share of what the devices could compute.
        first_limit: what decides how long the first pass takes.
        limit: what decides how long the others take.
        pack_bytes: on the disk; 0 without a pack.
        storage_bytes: a second, that the storage must give so that it holds nothing up.
        cores: for each device, below which decoding holds it up in a pass that decodes.
    """

    seconds: float
    cost: float
    rate: float
    efficiency: float
    first_limit: str
    limit: str
    pack_bytes: float
    storage_bytes: float
    cores: float


def step_of(work: Work, machines: Machines, *, packed: bool) -> Step:
    """The parts of one step on each device, in seconds, when images are read from the pack or decoded."""
    compute = work.batch / machines.device_rate
    exchange = all_reduce_seconds(work.gradient_bytes, machines.devices, machines.network_bytes)
    image_bytes = work.packed_bytes if packed else work.stored_bytes + (work.packed_bytes if work.pack else 0.0)
    return Step(
        compute=compute,
        exchange=exchange,
        exposed=max(0.0, exchange - machines.overlap * compute),
        decode=0.0 if packed else work.batch / (machines.cores * machines.decode_rate),
        storage=work.batch * machines.devices * image_bytes / machines.storage_bytes,
    )


def all_reduce_seconds(gradient_bytes: float, devices: int, network_bytes: float) -> float:
    """Seconds in which a ring of devices adds up its gradients: each sends and receives 2 (n - 1) / n of them."""
    return 2 * (devices - 1) / devices * gradient_bytes / network_bytes


def predict(work: Work, machines: Machines) -> Prediction:
    """Time, cost, and what decides them. The first pass decodes; the pack, if any, is written meanwhile."""
    decoding, packed = step_of(work, machines, packed=False), step_of(work, machines, packed=True)
    later = packed if work.pack else decoding
    steps = work.images / (work.batch * machines.devices)
    seconds = steps * (decoding.seconds + (work.passes - 1) * later.seconds)
    usual = later if work.passes > 1 else decoding
    rate = work.batch * machines.devices / usual.seconds
    unhindered = work.batch * machines.devices / (usual.compute + usual.exposed)
    image_bytes = work.packed_bytes if work.pack and work.passes > 1 else work.stored_bytes
    return Prediction(
        seconds=seconds,
        cost=seconds / HOUR_SECONDS * machines.devices * machines.price,
        rate=rate,
        efficiency=rate / (machines.devices * machines.device_rate),
        first_limit=decoding.limit,
        limit=usual.limit,
        pack_bytes=work.images * work.packed_bytes if work.pack else 0.0,
        storage_bytes=unhindered * image_bytes,
        cores=work.batch / (decoding.compute + decoding.exposed) / machines.decode_rate,
    )
