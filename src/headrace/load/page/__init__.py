"""The report of a load as one HTML file that needs nothing else.

``timeline`` a run in slices of time (pure) · ``figures`` what is drawn · ``svg`` drawings as text
that takes the page's colours · ``html`` the page around them.
"""
