"""A TensorFlow Serving client as articles have it, word for word; the server need not be one.

headrace serve model.onnx --listen 127.0.0.1:8500
pip install tensorflow-serving-api
python examples/article_tfserving.py linear x '[[1, 2, 3, 4]]' [localhost:8500]
"""

import json
import sys

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc


def main(model: str, name: str, values: str, address: str = "localhost:8500") -> None:
    """Send one input, given as JSON, and print the outputs."""
    data = np.array(json.loads(values), dtype=np.float32)

    channel = grpc.insecure_channel(address)
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)

    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = "serving_default"
    request.inputs[name].CopyFrom(tf.make_tensor_proto(data, shape=data.shape))

    result = stub.Predict(request, 10.0)
    for output in result.outputs:
        print(output, "=", tf.make_ndarray(result.outputs[output]).tolist())


if __name__ == "__main__":
    main(*sys.argv[1:]) if sys.argv[3:] else sys.exit(__doc__)
