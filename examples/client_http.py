"""Ask any model over HTTP: Open Inference Protocol with binary tensors, with tritonclient.

python examples/client_http.py localhost:8000 linear 'x=[[1, 2, 3, 4]]'
"""

import json
import sys

import numpy as np
from tritonclient.http import InferenceServerClient, InferInput
from tritonclient.utils import triton_to_np_dtype


def main(address: str, model: str, *inputs: str) -> None:
    """Send the inputs, each given as NAME=JSON, and print the outputs."""
    with InferenceServerClient(address, network_timeout=10) as client:
        metadata = client.get_model_metadata(model)
        datatypes = {tensor["name"]: tensor["datatype"] for tensor in metadata["inputs"]}
        tensors = []
        for text in inputs:
            name, _, values = text.partition("=")
            array = np.array(json.loads(values), triton_to_np_dtype(datatypes[name]))
            tensor = InferInput(name, array.shape, datatypes[name])
            tensor.set_data_from_numpy(array)
            tensors.append(tensor)
        answer = client.infer(model, tensors)
        for output in metadata["outputs"]:
            print(f"{output['name']} = {answer.as_numpy(output['name']).tolist()}")


if __name__ == "__main__":
    main(*sys.argv[1:]) if sys.argv[3:] else sys.exit(__doc__)
