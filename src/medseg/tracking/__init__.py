"""What a run leaves behind: its record, its metrics, and Weights & Biases."""
