"""What is wrong with a dataset before a model is trained on it, as a list to act on."""

from ftstudio.data.checks.found import CHECKS, Check, Severity, names_of
from ftstudio.data.checks.run import left_out, merged, run_checks

__all__ = ["CHECKS", "Check", "Severity", "left_out", "merged", "names_of", "run_checks"]
