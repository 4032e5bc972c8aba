"""The protocols as a client sees them: requests from arrays, arrays from answers, what a model is.

``contract`` what every one of them does · ``oip_grpc`` · ``oip_rest`` · ``tfserving_grpc`` ·
``tfserving_rest`` · ``plain`` · ``tensors`` elements as bytes and as JSON · ``messages`` classes of
protobuf's messages · ``tensorflow`` its names of types.

Nothing here is shared with the server's own codecs: a client that had its mistakes would not notice
them.
"""
