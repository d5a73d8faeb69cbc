"""The typed door to the API: one resource in, one reading out; the only package that knows httpx.

::

    client      Gateway.fetch, Gateway.page, Gateway.modify; foreign exceptions become ours here, once
    verdicts    status and body to a reading or a fault, per kind
    listing     what a page of a list means
    answers     what a body says, read defensively
    transport   the layers between the client and the wire, each with one job
    wire        the layer that owns sockets
    trust       whose certificates it takes
    proxies     which proxy leads to a server
    failures    what can fail on the way that httpx has no class for
    pacing      how long to wait, as arithmetic
    keeper      the token of a run; where it is from: sources, commands, identity; what it is: tokens
    providers   one row per service: where it is, how it wants to be spoken to
"""
