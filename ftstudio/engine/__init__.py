"""The worker thread, models, training, generation, telemetry. The only place that runs torch."""

from ftstudio.engine.allocation import roomy

roomy()
