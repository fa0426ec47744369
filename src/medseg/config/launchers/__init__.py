"""How the jobs of a sweep are run: one after the other, several at once, or by SLURM."""
