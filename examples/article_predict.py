"""A client of a web service as articles have it: JSON to ``/predict``, the answer under ``output``.

headrace serve model.onnx
python examples/article_predict.py '[[1, 2, 3, 4]]' [http://localhost:8000]
"""

import json
import sys

import requests


def main(values: str, url: str = "http://localhost:8000") -> None:
    """Send one input, given as JSON, and print the output."""
    response = requests.post(f"{url}/predict", json={"input": json.loads(values)}, timeout=10)
    response.raise_for_status()
    print("output =", response.json()["output"])


if __name__ == "__main__":
    main(*sys.argv[1:]) if sys.argv[1:] else sys.exit(__doc__)
