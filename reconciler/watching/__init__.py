"""What keeps reconciling: when the next run is due, what is remembered of the past ones, and who is told.

::

    schedule   when: interval, jitter, back-off; whether all is well; pure arithmetic
    course     what is known of a watch that goes on: its last run, its failures, since when there is drift
    metrics    the same as Prometheus metrics; the only place that knows prometheus_client
    status     the HTTP server that shows it
    webhook    who is told when drift appears and when it is gone
    lock       one watch for a target, and no apply while its run writes
    bell       what wakes a watch that waits

Nothing here makes a run: that is done by whoever holds settings, manifests and the door to the API.
"""
