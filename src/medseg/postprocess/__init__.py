"""What is done to a prediction on its file's own grid: components, holes, thresholds, a dense CRF."""
