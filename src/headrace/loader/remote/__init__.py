"""Models that lie in object stores and on web servers, as folders of this machine.

::

    listing   what a store says is there, by names that lead nowhere else (pure)
    chosen    which of it is wanted: versions, and what lies beside them (pure)
    ripe      what of it has been as it is for long enough (pure)
    stores    what lists and reads a URL; every error of its library becomes one of ours
    bucket    S3 and Google Cloud Storage: one listing tells everything
    unhurried looking up a name holds up no end
    web       web servers: index pages, and a HEAD a file
    copies    what was fetched: whole or not there, kept from one start to the next
    locks     who uses a copy, among processes that share them
    views     what is served, as a folder of links to copies
    mirror    all of this in order, for one place
    remotes   the places among the settings that are URLs, each with its mirror
    arrivals  a fleet serves each as it arrives
    upkeep    and again and again (model_control: poll)
    sought    what an order names, wherever it lies
    tidying   copies that nothing serves any more go
"""
