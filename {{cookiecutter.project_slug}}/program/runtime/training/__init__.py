"""Training: hyperparameters, data, fit, checkpoints, many hosts, cross-validation, the report."""
