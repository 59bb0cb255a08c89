"""Which images, how they are divided, how they become input, and what training does to them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from eyebright.config.part import Part
from eyebright.errors import UsageError


class SplitShares(Part):
    """How many of the images go to each split when the data brings none. The three shares sum to one."""

    train: float = Field(0.70, gt=0, lt=1)
    """Share that the network learns from."""
    val: float = Field(0.15, gt=0, lt=1)
    """Share that choices and the temperature are made on."""
    test: float = Field(0.15, gt=0, lt=1)
    """Share that is scored once."""

    @model_validator(mode="after")
    def _sum_to_one(self) -> SplitShares:
        if abs(self.train + self.val + self.test - 1) > 1e-6:
            raise ValueError(f"the shares {self.train:g}, {self.val:g} and {self.test:g} do not sum to 1")
        return self

    @classmethod
    def parse(cls, text: str) -> SplitShares:
        """Read `70/15/15` (train/val/test; any three positive numbers, scaled to sum to one).

        Raises:
            UsageError: the text is not three positive numbers.
        """
        try:
            train, val, test = (float(part) for part in text.split("/"))
        except ValueError:
            train = val = test = 0.0
        if not (min(train, val, test) > 0 and train + val + test < float("inf")):
            raise UsageError(
                f"{text!r} is not a split", expected="three numbers above zero: train/val/test, as 70/15/15"
            )
        total = train + val + test
        return cls(train=train / total, val=val / total, test=test / total)


class DataConfig(Part):
    """Where the images come from and how they are divided."""

    split: SplitShares = SplitShares()
    """Shares of train, val and test; used where the data has no split of its own."""
    allow_bad: float = Field(0.01, ge=0, le=1)
    """Share of unreadable images up to which training goes on without them."""
    sampling: Literal["shuffle", "balanced"] = "shuffle"
    """Order of an epoch: `shuffle` takes every training image once; `balanced` draws as many images with replacement,
    each class equally often."""
    drop_last: bool = True
    """Leave out the incomplete last batch of an epoch (where there is a whole one), so that every step weighs the
    same. A last batch of a single image is left out in any case."""
    audit: Literal["short", "off"] = "short"
    """What is looked at before training: `short` measures every image, finds near-duplicates and keeps them in one
    split; `off` trusts the images."""
    max_pixels: int = Field(100_000_000, gt=0)
    """Images with more pixels than this are listed as too large and not decoded."""
    overlap: bool = True
    """Begin to train while images are still being decoded, in the order in which the first epoch needs them."""
    stream: bool | Literal["auto"] = "auto"
    """Decode images anew in every epoch, in the order of their files or shards, instead of packing them decoded; `auto`
    does where the pack would not fit on the disk of the cache."""
    shuffle_window: int = Field(8192, ge=1)
    """With `stream`: images that follow each other in the files or shards and are shuffled together; they are held in
    memory, as they were read."""
    superclass: str | None = None
    """Where the class above every class comes from: `folders` (`animal/dog/1.jpg`), `column:NAME`, or a YAML file with
    lines `superclass: [class, class]`; left out, there are no superclasses."""

    @field_validator("audit", mode="before")
    @classmethod
    def _off_is_a_word(cls, value: object) -> object:
        """YAML reads an unquoted `off` as false."""
        return "off" if value is False else value


class ImageConfig(Part):
    """How images become input. Values left out are chosen by the recipe."""

    size: int | None = Field(None, ge=8, le=1024)
    """Side of the network's input in pixels."""
    resize: Literal["crop", "squash", "pad"] | None = None
    """What happens to the aspect: cut the centre, squash, or pad."""
    crop_share: float = Field(0.875, gt=0, le=1)
    """For `crop`: side of the centre crop over the shortest side after resizing."""
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bicubic"
    """Filter for resizing."""
    channels: Literal[1, 3] | None = None
    """1 for grey, 3 for RGB."""
    mean: tuple[float, ...] | None = None
    """Mean of each channel on the scale from 0 to 1, subtracted; left out, that of the network's weights."""
    std: tuple[float, ...] | None = None
    """Standard deviation of each channel on the same scale, divided by."""


class AugmentConfig(Part):
    """What training does to images. All of it but Albumentations happens on batches, on the device that trains."""

    flip: bool | None = None
    """Mirror left and right with probability one half; left out, the recipe finds out whether orientation carries
    the label."""
    flip_schedule: Literal["random", "alternating"] = "random"
    """With `flip`: `alternating` mirrors each image in every second epoch, one half of them in even and the other in
    odd ones, so that two epochs show both sides of every image."""
    vertical_flip: bool = False
    """Mirror top and bottom with probability one half."""
    min_area: float = Field(0.5, gt=0, le=1)
    """Smallest share of the image's area that a random crop keeps."""
    aspect: float = Field(0.2, ge=0, lt=1)
    """Largest change of the aspect of a random crop, as the natural logarithm of the ratio."""
    rotation: float = Field(0.0, ge=0, le=180)
    """Largest rotation in degrees, to either side."""
    shift: float = Field(0.0, ge=0, le=1)
    """Largest shift along each axis, as a share of the side."""
    whole_pixels: bool = False
    """Shift by whole pixels, as a crop from a padded image does: nothing is blurred."""
    scale: float = Field(0.0, ge=0, lt=1)
    """Largest relative change of size, the same along both axes."""
    zoom: float = Field(0.0, ge=0, lt=1)
    """Largest relative change of size, drawn for each axis of its own."""
    shear: float = Field(0.0, ge=0, lt=90)
    """Largest shear in degrees, to either side, along the horizontal axis."""
    fill: Literal["reflect", "edge", "black"] = "reflect"
    """What stands where the image no longer reaches."""
    brightness: float = Field(0.1, ge=0, le=1)
    """Largest relative change of brightness."""
    contrast: float = Field(0.1, ge=0, le=1)
    """Largest relative change of contrast, around the mean grey of the image."""
    saturation: float = Field(0.0, ge=0, le=1)
    """Largest relative change of saturation."""
    hue: float = Field(0.0, ge=0, le=0.5)
    """Largest turn of the hue, where 1 is the whole circle."""
    policy: Literal["none", "randaugment", "trivialaugment"] = "none"
    """Operations drawn at random for each image, on top of the rest."""
    policy_operations: int = Field(2, ge=1, le=10)
    """RandAugment: operations for each image."""
    policy_magnitude: float = Field(9.0, ge=0, le=30)
    """RandAugment: how strong, on a scale to 30."""
    erasing: float = Field(0.0, ge=0, le=1)
    """Probability that a rectangle of the image is erased."""
    erasing_area: tuple[float, float] = (0.02, 0.33)
    """Smallest and largest share of the image's area that is erased."""
    erasing_side: int | None = Field(None, ge=1)
    """Erase a square of this side in pixels instead (coarse dropout); left out, a rectangle by area."""
    mixup: float | None = Field(None, ge=0)
    """Parameter of the beta distribution that mixes pairs of images; 0 mixes none; left out, the recipe decides."""
    cutmix: float = Field(0.0, ge=0)
    """The same for CutMix, which pastes a rectangle of another image; with both, each batch draws one of the two."""
    albumentations: tuple[dict[str, dict[str, Any]], ...] = ()
    """A pipeline of Albumentations (the extra `albumentations`), in place of all of the above but mixing: a list of
    one-key mappings from a transform's name to its arguments, such as `[{HorizontalFlip: {p: 0.5}}]`."""

    @model_validator(mode="after")
    def _areas_in_order(self) -> AugmentConfig:
        low, high = self.erasing_area
        if not 0 < low <= high < 1:
            raise ValueError(f"erasing_area {low:g}, {high:g} is not two shares in order between 0 and 1")
        return self
