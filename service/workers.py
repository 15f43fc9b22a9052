"""Imported by nothing but the process that the workers of `service serve` are forks of; see `server`.

It ends when the last of them has, and not before: whoever signals all processes at once, as systemd does, would else
have the server end while workers still answer.
"""

import os
import signal

import service.server  # noqa: F401  # that the workers need not import it

signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.register_at_fork(after_in_child=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL))
