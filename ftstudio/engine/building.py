"""One model is built at a time.

transformers builds models under settings of the whole process: the default dtype is changed and changed back, tying and
initialising weights are switched off and on. A plan counts parameters in a thread of its own while the worker may be
loading; interleaved, a head would stay untied, or the process would keep the other's dtype.
"""

from __future__ import annotations

import threading

BUILDING = threading.RLock()
"""Held while transformers makes a model, from its weights or without."""
