"""What model files say of themselves, read without the libraries that run them.

Bytes in, facts out. ``wire`` is protobuf's encoding, ``flat`` FlatBuffers' · ``saved_model`` the
signatures of a SavedModel, and the same file with another of them as its default · ``tflite`` names
of tensors and the file of class names · ``onnx_`` names of classes · ``torch_archive`` whether a
``.pt`` is a program. What cannot be read raises ``ValueError``.
"""

SUFFIXES = (".onnx", ".xml", ".tflite", ".pt2", ".pt", ".py", ".fake")
"""What a model file is called: ONNX, OpenVINO IR, TFLite, PyTorch's, the user's, the fake's.

A SavedModel is a folder, whose file is ``saved_model.pb``.
"""
