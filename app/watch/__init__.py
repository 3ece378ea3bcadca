"""Mirror each kind of each cluster into a store, and publish what changed.

Belongs here: the reflector (list and watch by client-go's rules), the pure store and projections, who watches what
(leases), and the messages that travel from a watcher to the web processes. Does not belong: viewers (app.views), HTTP.
"""
