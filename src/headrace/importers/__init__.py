"""From other servers' configuration to ours; nothing is dropped in silence.

::

    textproto   protobuf's text format as a tree that knows its lines, no schema needed (pure)
    rules       what may become of a field, and the walk that asks of every one (pure)
    triton      config.pbtxt: its table, and what is made of each field (pure)
    sequences   the part of it about models with state (pure)
    signatures  inputs and outputs, for models whose files do not say theirs (pure)
    labels      class names, which are in a file of the model's own or none
    versions    which versions are served, as both servers say it (pure)
    tfserving   model_config_file and batching_parameters_file (pure)
    folders     which folders are models, and which versions of one
    gather      paths given on the command line to what is read of them
    written     what was read as a headrace.yaml with comments
    report      the same for people, a table, and for programs, JSON
"""
