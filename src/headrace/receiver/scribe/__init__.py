"""The scribe: the process that reads and writes large JSON beside the receiver.

``worker`` the process · ``body`` and ``answer`` the fronts' own functions · ``lists`` long lists
of numbers at once.
"""
