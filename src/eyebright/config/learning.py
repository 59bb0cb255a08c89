"""Which network, and how its weights move."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from eyebright.config.part import Part

Metric = Literal["val_loss", "val_accuracy", "val_balanced_accuracy", "val_macro_f1", "val_top5_accuracy"]


class HeadConfig(Part):
    """Hidden layers between the features of the network and its classifier."""

    hidden: tuple[int, ...] = ()
    """Widths of the hidden dense layers, each with ReLU; empty for none."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout after each hidden layer."""
    batch_norm: bool = False
    """Batch norm in each hidden layer, after its ReLU."""


class ModelConfig(Part):
    """Which network."""

    name: str | None = None
    """Any name that timm knows; left out, the recipe chooses."""
    pretrained: bool = True
    """Start from published weights; False starts from random ones."""
    dropout: float | None = Field(None, ge=0, lt=1)
    """Dropout of the network while training; left out, as the network has it."""
    drop_path: float = Field(0.0, ge=0, lt=1)
    """Stochastic depth: probability that a residual branch is left out, for networks that know it."""
    arguments: dict[str, Any] = Field({})
    """More keyword arguments for the network, as its family defines them."""
    head: HeadConfig = HeadConfig()
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass instead of keeping them: less memory, about a third more time."""


class RequirementsConfig(Part):
    """What the network must satisfy; checked before training."""

    max_parameters: int | None = Field(None, ge=1)
    """Most parameters."""
    min_receptive_field: int | None = Field(None, ge=1)
    """Smallest receptive field in pixels."""
    forbid: tuple[str, ...] = ()
    """Kinds of layers that must not occur, such as `max-pool`; `eyebright models check --help` lists the kinds."""
    require: tuple[str, ...] = ()
    """Kinds of layers that must occur, such as `depthwise-separable`, `dilated` or `gap`."""


class OptimConfig(Part):
    """How the weights move."""

    optimiser: Literal["adamw", "adam", "sgd", "lion", "muon"] = "adamw"
    """`adam` has coupled (L2) weight decay; `lion` and `muon` are those of timm."""
    batch_size: int = Field(32, ge=1)
    """Images in a step, over all devices together."""
    accumulate: int = Field(1, ge=1)
    """Parts that a batch is computed in, one after the other, to save memory; the step is that of the whole batch."""
    learning_rate: float = Field(1e-3, gt=0)
    """Peak learning rate of the last layer; earlier layers get less by `layer_decay`."""
    layer_decay: float = Field(0.8, gt=0, le=1)
    """Factor on the learning rate from one stage of the network to the one before it (discriminative rates)."""
    weight_decay: float = Field(0.02, ge=0)
    """Weight decay; norms and biases have none unless `decay_all`."""
    decay_all: bool = False
    """Decay norms and biases too, as plain optimisers do."""
    momentum: float = Field(0.9, ge=0, lt=1)
    """Momentum of `sgd` and `muon`, first beta of the others."""
    nesterov: bool = True
    """Nesterov's momentum, for `sgd` and `muon`."""
    clip_norm: float | None = Field(1.0, gt=0)
    """Largest norm of the gradient of all weights together; None clips nothing."""
    ema_decay: float = Field(0.98, ge=0, lt=1)
    """Decay a step of the exponential moving average of weights; 0 keeps no average."""


class ScheduleConfig(Part):
    """How the learning rate changes over a stage of training."""

    name: Literal["constant", "step", "cosine", "one-cycle", "polynomial", "plateau"] = "cosine"
    """`cosine` and `polynomial` fall to `final_share`; `one-cycle` rises from and falls to a small rate; `step` and
    `plateau` fall by a factor."""
    warmup_share: float = Field(0.1, ge=0, lt=1)
    """Share of the steps during which the rate rises from zero (for `one-cycle`, to its peak)."""
    final_share: float = Field(0.0, ge=0, le=1)
    """Rate at the end over the peak rate, for `cosine`, `polynomial` and `one-cycle`."""
    step_epochs: int = Field(10, ge=1)
    """`step`: epochs between two falls."""
    factor: float = Field(0.1, gt=0, lt=1)
    """`step` and `plateau`: what the rate is multiplied with at a fall."""
    power: float = Field(1.0, gt=0)
    """`polynomial`: its exponent."""
    metric: Metric = "val_loss"
    """`plateau`: what must improve."""
    patience: int = Field(2, ge=0)
    """`plateau`: evaluations without improvement that are let pass before a fall."""
    floor: float = Field(1e-6, ge=0)
    """`plateau`: the smallest learning rate."""


class LossConfig(Part):
    """What training minimises."""

    name: Literal["cross-entropy", "focal"] = "cross-entropy"
    """`focal` gives images that are already right less weight."""
    label_smoothing: float = Field(0.1, ge=0, lt=1)
    """Probability mass that is taken from the true class and spread over all."""
    focal_gamma: float = Field(2.0, ge=0)
    """Exponent of the focal loss."""
    class_weights: Literal["none", "balanced", "effective-number"] = "none"
    """Weights against imbalance: `balanced` is inverse to the number of training images of the class."""
    effective_beta: float = Field(0.999, ge=0, lt=1)
    """`effective-number`: how soon more images of a class bring nothing new."""
    logit_adjustment: float = Field(0.0, ge=0)
    """Strength of the logarithm of the class shares that is added to the logits while training; 0 for none."""


class StopConfig(Part):
    """When training ends before its last planned step, and which weights are kept."""

    metric: Metric = "val_loss"
    """What early stopping watches."""
    patience: int | None = Field(None, ge=1)
    """Evaluations without improvement after which training stops; None never stops early."""
    min_delta: float = Field(0.0, ge=0)
    """Least change that counts as an improvement."""
    target_accuracy: float | None = Field(None, gt=0, le=1)
    """Stop when the validation accuracy reaches this."""
    keep: Metric | Literal["last"] = "val_loss"
    """Whose best weights are kept; `last` keeps those of the last step."""


class StageConfig(Part):
    """One stage of training, after another: a part of the network, an input size or a level of classes of its own.

    What is left out is as in the rest of the configuration.
    """

    name: str = Field(min_length=1, pattern=r"^\w[\w.-]*$")
    """Its name in the history."""
    epochs: int = Field(ge=1)
    """How many epochs it takes."""
    frozen: float | Literal["body"] = 0.0
    """Share of the first layers that keep their weights, in [0, 1); `body` trains the head alone."""
    fixed_statistics: bool | None = None
    """Whether batch norms keep their statistics; left out, frozen ones do."""
    learning_rate: float | None = Field(None, gt=0)
    """Peak learning rate."""
    layer_decay: float | None = Field(None, gt=0, le=1)
    """Discriminative rates; see `optim.layer_decay`."""
    batch_size: int | None = Field(None, ge=1)
    """Images in a step."""
    size: int | None = Field(None, ge=8, le=1024)
    """Side of the input in pixels, for progressive resizing."""
    level: Literal["class", "superclass"] = "class"
    """What is learnt: `superclass` trains summed probabilities against superclasses (coarse to fine)."""

    @model_validator(mode="after")
    def _share_in_range(self) -> StageConfig:
        if self.frozen != "body" and not 0 <= float(self.frozen) < 1:
            raise ValueError(f"frozen={self.frozen} is not a share of at least 0 and below 1")
        return self


class DistilConfig(Part):
    """Learning from a teacher as well as from labels (knowledge distillation)."""

    teacher: str | None = None
    """Run or bundle whose classifier teaches; it must know the same classes."""
    weight: float = Field(0.5, ge=0, le=1)
    """Share of the teacher in the loss."""
    temperature: float = Field(2.0, gt=0)
    """Divides the logits of both before they are compared."""


class ComputeConfig(Part):
    """How the arithmetic is done."""

    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Of the forward pass: `auto` takes bfloat16 (else float16) on CUDA, and float32 elsewhere, unless a CPU has
    bfloat16, there is a budget, and a trial finds it clearly faster."""
    compile: bool | Literal["auto"] = "auto"
    """Compile the network with torch.compile; `auto` compiles where that pays for itself within the planned steps."""
    resident: bool | Literal["auto"] = "auto"
    """Keep all training images on the device; `auto` does on a GPU where they fit."""
    features: Literal["auto", "torch", "onnx", "openvino"] = "auto"
    """What computes features of a frozen network: `auto` tries those that are installed, and takes the fastest that
    gives the same features."""
    profile: bool = False
    """Say where the time of training went; costs a little of it."""
    deterministic: bool = False
    """Only algorithms that give the same bits every time, on CUDA too; slower there."""
    threads: int | None = Field(None, ge=1, le=1024)
    """Threads of the arithmetic on a CPU. Left out, one for each core that this process may use."""
    workers: int | None = Field(None, ge=1, le=64)
    """Threads that gather and augment images on the CPU; the result does not depend on it. Left out, by the machine."""


class LogConfig(Part):
    """Where the history goes besides `history.jsonl`."""

    csv: bool = True
    """Also `history.csv`."""
    tensorboard: bool = False
    """Also event files for TensorBoard in the run's folder `tensorboard` (the extra `tensorboard`)."""
