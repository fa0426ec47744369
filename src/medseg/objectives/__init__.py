"""What training optimises, and on which streams; each objective is one file and one YAML."""
