"""What went wrong, for a person: exceptions of the libraries as one sentence and a way out."""

from __future__ import annotations

import traceback
from typing import Any

from ftstudio.core import ending, files
from ftstudio.core.errors import StudioError, chain
from ftstudio.core.folder import JobFolder
from ftstudio.core.text import one_line

LOG = "The traceback is in the log."
NO_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "cublas_status_alloc_failed",
    "cublas_status_not_initialized",  # its handle is made at the first product: where the model has filled the GPU
    "cudnn_status_alloc_failed",
    "allocation_failed",  # cuDNN 9: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED
)
SMALLER = (
    "Halve training.batch_size and double training.gradient_accumulation (for embeddings by mnrl or cosent set "
    "options.chunk instead), lower data.max_length, set training.gradient_checkpointing, or use method qlora."
)


def explain(error: BaseException) -> StudioError:
    """ERROR as one sentence and one way out."""
    if isinstance(error, StudioError):
        return error
    text = one_line(str(error), 300)
    low = text.lower()
    kind = type(error).__name__
    if out_of_memory(error):
        gpu = kind == "OutOfMemoryError" or any(sign in low for sign in ("cuda", "cublas", "cudnn"))
        where = "GPU memory" if gpu else "memory"
        return StudioError(f"There is not enough {where}.", SMALLER)
    if _of_gpu(low):
        return StudioError(
            f"The GPU reported an error that this process can't recover from ({one_line(text, 120)}).",
            "Close the studio and open it again: the run can be resumed from its last checkpoint.",
        )
    if isinstance(error, OSError) and error.errno is not None and error.filename:
        return files.explain(error, str(error.filename))
    if isinstance(error, OSError) and error.errno is not None:
        return files.explain(error, "the workspace")
    if isinstance(error, (KeyboardInterrupt, SystemExit)):
        return StudioError("Interrupted.", "Resume the run to go on.")
    if isinstance(error, ModuleNotFoundError):
        return StudioError(
            f"The library {error.name} is missing.", "Set ftstudio up again; `ftstudio doctor` lists what is there."
        )
    return StudioError(f"{kind}: {text or 'no message'}.", LOG)


def out_of_memory(error: BaseException) -> bool:
    """Whether ERROR says that memory didn't do, on a GPU or the CPU. cuBLAS and cuDNN ask for memory of their own."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    low = str(error).lower()
    return any(sign in low for sign in NO_MEMORY)


def _of_gpu(text: str) -> bool:
    return any(sign in text for sign in ("device-side assert", "cuda error", "cublas", "cudnn"))


def of_gpu(error: BaseException) -> bool:
    """Whether ERROR leaves the GPU of no use to this process: not where memory didn't do."""
    return _of_gpu(str(error).lower()) and not out_of_memory(error)


def beyond_repair(error: BaseException) -> None:
    """After ERROR, where the GPU failed, this process ends without its libraries' goodbye: see `core.ending`."""
    if _of_gpu(str(error).lower()):
        ending.abrupt = True


def drop_frames(error: BaseException) -> None:
    """Let go of what the frames of ERROR hold (models, batches), so that their memory can be freed."""
    for one in chain(error):
        traceback.clear_frames(one.__traceback__)


def last_step(folder: JobFolder) -> int | None:
    """The last step FOLDER's events tell of; None where there is none."""
    rows: list[dict[str, Any]] = folder._tail()
    return next((row["step"] for row in reversed(rows) if row.get("kind") == "step" and "step" in row), None)
