"""``headrace tune``: the fastest settings of a model within its objective and its accuracy.

``data`` the samples, the user's or made up; ``files`` those that are files of their own ·
``gate`` whether a candidate answers as well as the reference, by ``nearness``.
"""
