"""Large JSON bodies, handed to the scribe and back.

``parcel`` a body in a memory file · ``messages`` what crosses the socket · ``client`` the
receiver's side.
"""
