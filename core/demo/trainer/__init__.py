"""The demo trainer: a small real trainer that stands in for sd-scripts' train_network.py, in numpy."""
