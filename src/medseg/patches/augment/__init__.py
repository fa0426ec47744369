"""One file per augmentation: ``draw`` decides, ``apply`` does; nothing random happens while applying."""
