"""The study: search, workers, tracking, reports; the only place that knows optuna, mlflow and argparse."""
