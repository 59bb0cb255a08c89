"""The Fashion-MNIST networks in a plain Keras `fit`, as its documentation shows it: a peer of fashion_mnist.py.

    python -m venv PEER && PEER/bin/pip install tensorflow-cpu==2.21.0 keras==3.15.1
    PEER/bin/python benchmarks/peer_keras_fashion.py --images fashion.npz --network fashion-cnn --epochs 3

Needs Keras and NumPy alone. `--images` is what fashion_mnist.py writes: x_train, y_train, x_test, y_test, as in Keras'
own `mnist.npz`. An epoch's seconds include the scoring of the validation images. The test images are scored once, at
the end. The last line of the output is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow
from keras import layers

CLASSES = 10


def fashion_ann() -> list[layers.Layer]:
    return [
        layers.Flatten(),
        layers.Dense(128, activation="relu"),
        layers.Dropout(0.2),
        layers.Dense(64, activation="relu"),
        layers.Dropout(0.2),
        layers.Dense(CLASSES, activation="softmax"),
    ]


def fashion_cnn() -> list[layers.Layer]:
    return [
        layers.Conv2D(32, 3, activation="relu"),
        layers.MaxPooling2D(),
        layers.Conv2D(64, 3, activation="relu"),
        layers.MaxPooling2D(),
        layers.Flatten(),
        layers.Dense(128, activation="relu"),
        layers.Dropout(0.5),
        layers.Dense(CLASSES, activation="softmax"),
    ]


def fashion_deep_cnn() -> list[layers.Layer]:
    return [
        layers.Conv2D(32, 3, padding="same", activation="relu"),
        layers.BatchNormalization(),
        layers.Conv2D(32, 3, padding="same", activation="relu"),
        layers.MaxPooling2D(),
        layers.Dropout(0.25),
        layers.Conv2D(64, 3, padding="same", activation="relu"),
        layers.BatchNormalization(),
        layers.Conv2D(64, 3, padding="same", activation="relu"),
        layers.MaxPooling2D(),
        layers.Dropout(0.25),
        layers.Flatten(),
        layers.Dense(256, activation="relu"),
        layers.BatchNormalization(),
        layers.Dropout(0.5),
        layers.Dense(CLASSES, activation="softmax"),
    ]


NETWORKS = {"fashion-ann": fashion_ann, "fashion-cnn": fashion_cnn, "fashion-deep-cnn": fashion_deep_cnn}


class Clock(keras.callbacks.Callback):
    """Seconds of every epoch, validation included."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._began = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.seconds.append(time.perf_counter() - self._began)


def main() -> None:
    """Train, score the test images, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", required=True)
    parser.add_argument("--network", required=True, choices=NETWORKS)
    parser.add_argument("--epochs", required=True, type=int)
    parser.add_argument("--patience", type=int, help="stop early on the validation loss and restore the best weights")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--training-images", type=int, default=51_000)
    parser.add_argument("--validation-images", type=int, default=9_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()

    keras.utils.set_random_seed(given.seed)
    with np.load(given.images) as arrays:
        x, y = arrays["x_train"][..., None].astype("float32") / 255, arrays["y_train"]
        x_test, y_test = arrays["x_test"][..., None].astype("float32") / 255, arrays["y_test"]
    train, val = slice(given.training_images), slice(len(x) - given.validation_images, None)

    model = keras.Sequential([keras.Input((28, 28, 1)), *NETWORKS[given.network]()])
    model.compile(
        optimizer=keras.optimizers.Adam(given.learning_rate),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    clock = Clock()
    callbacks: list[keras.callbacks.Callback] = [clock]
    if given.patience is not None:
        callbacks.append(
            keras.callbacks.EarlyStopping(monitor="val_loss", patience=given.patience, restore_best_weights=True)
        )
    history = model.fit(
        x[train], y[train], batch_size=given.batch_size, epochs=given.epochs, validation_data=(x[val], y[val]),
        callbacks=callbacks, verbose=2,
    ).history  # fmt: skip
    _, accuracy = model.evaluate(x_test, y_test, batch_size=given.batch_size, verbose=0)
    figures = {
        "accuracy": float(accuracy),
        "test_images": len(x_test),
        "val_accuracies": [float(value) for value in history["val_accuracy"]],
        "epoch_seconds": clock.seconds,
        "epochs": len(clock.seconds),
        "parameters": sum(int(np.prod(weight.shape)) for weight in model.trainable_weights),
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "versions": f"Keras {keras.__version__}, TensorFlow {tensorflow.__version__}",
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
