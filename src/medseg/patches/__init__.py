"""From a store to batches: sampling, augmentation, the two patch queues and the Lightning data module."""
