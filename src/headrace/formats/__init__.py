"""What model files say of themselves, read without the libraries that run them.

Bytes in, facts out. ``wire`` is protobuf's encoding · ``saved_model`` the signatures of a
SavedModel, and the same file with another of them as its default. What cannot be read raises
``ValueError``.
"""
