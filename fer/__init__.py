"""The science: datasets, network, adaptation strategies, the training engine and its measures.

Knows torch, torchvision, numpy, pandas and scikit-learn; never optuna, mlflow or argparse.
"""
