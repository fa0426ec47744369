"""From a trained network to label maps on the grids of the files that were given."""
