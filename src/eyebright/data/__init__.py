"""From a source of images to arrays ready for training: sources, manifest, split, pack."""
