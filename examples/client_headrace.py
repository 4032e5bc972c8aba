"""Ask any model with Headrace's own client; the address says whether over HTTP or gRPC.

python examples/client_headrace.py grpc://localhost:8000 linear 'x=[[1, 2, 3, 4]]'
"""

import json
import sys

import headrace


def main(address: str, model: str, *inputs: str) -> None:
    """Send the inputs, each given as NAME=JSON, and print the outputs."""
    pairs = (text.partition("=") for text in inputs)
    with headrace.Client(address, timeout_s=10) as client:
        result = client.infer(model, {name: json.loads(values) for name, _, values in pairs})
    for name, output in result.items():
        print(f"{name} = {output.tolist()}")


if __name__ == "__main__":
    main(*sys.argv[1:]) if sys.argv[3:] else sys.exit(__doc__)
