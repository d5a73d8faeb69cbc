"""The typed door to the API: one resource in, one reading out; the only package that knows httpx.

::

    client      Gateway.fetch, Gateway.modify; foreign exceptions become ours here, once
    verdicts    status and body to a reading or a fault, per kind
    answers     what a body says, read defensively
    transport   the layers between the client and the wire, each with one job
    wire        the layer that owns sockets
    failures    what can fail on the way that httpx has no class for
    pacing      how long to wait, as arithmetic
    providers   one row per service: where it is, how it wants to be spoken to
"""
