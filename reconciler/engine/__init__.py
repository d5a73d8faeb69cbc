"""The workers of one run: read all, apply all, in parallel, each resource for itself.

::

    brake      stops a run from starting anything new; bounded parallel work
    breaker    pulls the brake where one resource after the other fails
    reading    observe every resource; tell an unserved kind from missing resources
    lessons    what the answers teach about how a target treats updates, shared by all workers
    writing    carry out changes: read again, write, verify

A failed resource does not stop the others. What ends the run (a refusal by the target, failures without end, a signal,
a limit of time) pulls the `Brake`: no new write starts, those in flight are finished and verified; reads are given up.
"""

from reconciler.engine.brake import Brake, Feed
from reconciler.engine.reading import Observation, Observer, Reader, observe
from reconciler.engine.writing import Application, Writer, apply

__all__ = ["Application", "Brake", "Feed", "Observation", "Observer", "Reader", "Writer", "apply", "observe"]
