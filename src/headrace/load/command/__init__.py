"""The command ``headrace load``.

``grammar`` its flags · ``wanted`` what they mean, checked · ``prepare`` the target: the server
asked what the model takes, requests made, one of them tried · ``drive`` a run with its progress
shown · ``once`` one load from end to end · ``show`` what is printed of it · ``ends`` which signals
end it.

``find`` the search for the highest rate · ``tried`` what it came to · ``show_found`` what is
printed of that.

``compare`` two in turns · ``compared`` what it came to · ``show_compared`` what is printed of that.

``official`` a scenario that MLCommons' LoadGen drives.

``written``: the HTML report of any of these but the last.
"""
