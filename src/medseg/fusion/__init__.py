"""Where the modalities meet: each way of fusing is one file and one YAML."""
