"""The augmentation where the network runs: workers read boxes of the scans, the device does the rest.

Nothing is drawn here: the draws are those of `medseg.patches.augment`, and so are the definitions of what
is done with them. Only the normals of the noise come from the device's own generator.
"""
