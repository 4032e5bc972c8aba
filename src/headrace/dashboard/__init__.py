"""``headrace dashboard``: a live page of servers, which it knows over the wire only.

Started: ``grammar`` the flags · ``run`` from them to the end · ``serve`` the page's own server,
and the tasks beside it.

Seen: ``watch`` asks a server again and again · ``scrape`` what its metrics say · ``counts`` a
histogram of those · ``window`` what happened between two looks · ``history`` of the last minutes ·
``limits`` what each model could do, as ``headrace plan`` predicts it.

Shown: ``lines`` a version in numbers · ``words`` numbers for people · ``figures`` charts ·
``trial`` a request made by hand, and its answer · ``pages`` the pages themselves.
"""
