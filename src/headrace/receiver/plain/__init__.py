"""Plain JSON, and files in the place of tensors.

``predict`` the front · ``uploads`` bodies that are files · ``multipart`` forms of them ·
``decoding`` the threads that read them · ``models`` lists what is loaded, and moves labels ·
``slowest`` tells where time went.
"""
