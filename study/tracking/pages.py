"""Where a study is to be seen in MLflow: the addresses and commands that are printed."""

from study.cli import python
from study.redaction import hide_secrets

LOCAL_ADDRESS = "http://127.0.0.1:5000"
"""Where `mlflow ui` serves its pages unless it is told otherwise. One process is enough; four take longer to begin."""


def list_pages(uri: str, experiment: str) -> list[tuple[str, str]]:
    """Returns how to see an experiment's runs in MLflow: commands and addresses, each with what it is for.

    Args:
        uri: Of MLflow's server or database; "none" for nowhere.
        experiment: Its id; "" where MLflow has not been reached.
    """
    shown = hide_secrets(uri)
    if uri == "none":
        return []
    if uri.startswith("databricks"):
        return [("see the study in MLflow, at", shown)]
    if uri.startswith("http"):
        return [("see the study in MLflow: open", page_of_experiment(shown, experiment))]
    command = f"{python()} -m mlflow ui --backend-store-uri {shown} --workers 1"
    return [
        ("see the study in MLflow, which takes about half a minute to begin", command),
        ("and open", page_of_experiment(LOCAL_ADDRESS, experiment)),
    ]


def page_of_experiment(address: str, experiment: str) -> str:
    """Returns the address of the table of an experiment's runs.

    From MLflow 3.13 on, an experiment opens with the traces of language models unless its address says that it is about
    machine learning; earlier versions ignore that part.

    Args:
        address: Of MLflow's server.
        experiment: Its id; "" for the server's first page.
    """
    if not experiment:
        return address
    return f"{address.rstrip('/')}/#/experiments/{experiment}/runs?workflowType=machine_learning"
