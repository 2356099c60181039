"""A network of a front as MLflow serves it: faces in, probabilities out. MLflow runs this file, see `models`."""

import numpy as np
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext


class Served(PythonModel):
    """Loads the network when it is first needed; logging it needs no torch."""

    def load_context(self, context: PythonModelContext) -> None:
        """Loads the network file that was logged with this model, if it matches its checksum."""
        # torch: the process that logs the model runs this file, too, and does without.
        from fer.predict import load_network  # noqa: PLC0415

        self.file = context.artifacts["network"]
        # Models of earlier versions name no network: they are vgg13.
        name = (context.model_config or {}).get("network", "")
        self.network = load_network(self.file, name)

    # Without type hints, from which MLflow would make a signature of its own.
    def predict(self, context, model_input, params=None):
        """Returns probabilities (n, classes) of uint8 faces (n, size, size), or in colour (n, 3, size, size)."""
        from fer.predict import predict_images  # noqa: PLC0415

        return predict_images(self.network, np.asarray(model_input, np.uint8), self.file)


set_model(Served())
