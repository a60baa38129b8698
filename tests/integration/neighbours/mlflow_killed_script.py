"""The real MLflow client, whose server is killed and comes back: `argv[1]` points one by one, then in batches."""

import json
import sys

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric


def main(count: int) -> None:
    client = MlflowClient()
    with mlflow.start_run(run_name="survivor") as run:
        run_id = run.info.run_id
        for step in range(count):
            client.log_metric(run_id, "single", step + 0.25, timestamp=1000 + step, step=step)
        for start in range(0, count, 20):
            points = [Metric("batched", step + 0.5, 1000 + step, step) for step in range(start, start + 20)]
            client.log_batch(run_id, metrics=points, synchronous=True)
        mlflow.log_param("lr", 0.1)
    print(json.dumps({"id": run_id}))


main(int(sys.argv[1]))
