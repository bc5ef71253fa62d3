"""Asks a service a question that only its database can answer: exits with 0 when it does.

python docker/healthy.py dagster http://127.0.0.1:3000
python docker/healthy.py mlflow http://127.0.0.1:5000
"""

import json
import sys
import urllib.request

QUESTIONS = {
    "dagster": ("/graphql", {"query": "{ runsOrError(limit: 1) { __typename } }"}),
    "mlflow": ("/api/2.0/mlflow/experiments/search", {"max_results": 1}),
}


def answer(service: str, address: str) -> bytes:
    """The answer of a service.

    Raises:
        OSError: nobody answers, or with an HTTP error.
    """
    path, question = QUESTIONS[service]
    request = urllib.request.Request(
        address + path, json.dumps(question).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=4) as response:
        return response.read()


if __name__ == "__main__":
    said = answer(*sys.argv[1:])
    # Dagster answers 200 with an error inside when its database is down.
    sys.exit(1 if b"PythonError" in said or b'"errors"' in said else 0)
