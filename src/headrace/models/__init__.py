"""``headrace models``: what a running server has loaded, and orders to it.

``command`` the grammar, and what each action does · ``ask`` the server, over HTTP · ``rows`` what
it says, in words for people · ``show`` them as a table, once or until Ctrl-C · ``slow`` the
slowest requests, as another · ``freeze`` writes what was learnt as a tuned card.
"""
