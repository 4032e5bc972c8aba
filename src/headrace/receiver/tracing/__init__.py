"""Triton's traces: which requests are traced, what is noted of them, and where it is written.

``plan`` one of how many, and how many more · ``record`` one request's times and tensors ·
``tracer`` what the one function asks · ``files`` which file is next · ``writer`` the thread that
writes.
"""
