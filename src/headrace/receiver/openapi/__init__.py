"""What there is, written down for programs and for people.

``document`` of all paths and models · ``schemas`` of its bodies, ``lives`` of what is
told of models · ``page`` the same for people.
"""
