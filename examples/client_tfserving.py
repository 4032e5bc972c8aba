"""Ask any model as a TensorFlow Serving client does: REST and JSON, with requests.

python examples/client_tfserving.py localhost:8000 linear 'x=[[1, 2, 3, 4]]'
"""

import json
import sys

import requests


def main(address: str, model: str, *inputs: str) -> None:
    """Send the inputs, each given as NAME=JSON, and print the outputs."""
    columns = {}
    for text in inputs:
        name, _, values = text.partition("=")
        columns[name] = json.loads(values)
    answer = requests.post(
        f"http://{address}/v1/models/{model}:predict", json={"inputs": columns}, timeout=10
    )
    if not answer.ok:
        sys.exit(f"{answer.status_code}: {answer.json()['error']}")
    print(f"outputs = {answer.json()['outputs']}")


if __name__ == "__main__":
    main(*sys.argv[1:]) if sys.argv[3:] else sys.exit(__doc__)
