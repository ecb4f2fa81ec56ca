"""Datasets of the Hugging Face hub, through `datasets` (imported only here, only when asked for)."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from ftstudio.core.errors import Stopped, StudioError
from ftstudio.data.class_names import ClassNames
from ftstudio.data.dataset import Cancel, Column, Dataset, Progress, Row
from ftstudio.data.read_arrow import columns_of


class HubStore:
    """Rows of a `datasets.Dataset`, with the names of its classes."""

    def __init__(self, data: Any) -> None:
        self.data = data
        features = getattr(data, "features", None)
        self.names = ClassNames(None if features is None else features.to_dict())

    def __len__(self) -> int:
        return len(self.data)

    def row(self, index: int) -> Row:
        return self.names.row(dict(self.data[int(index)]))


def read_hub(name: str, split: str, *, progress: Progress | None = None, cancel: Cancel | None = None) -> Dataset:
    """SPLIT of the hub dataset NAME (`owner/name` or `owner/name:configuration`), from the cache or downloaded.

    Raises StudioError where it isn't cached and the hub can't be reached, or has no such dataset or split.
    """
    if cancel is not None and cancel():
        raise Stopped("Stopped before the download.")
    if progress is not None:
        progress(0, 1)
    repository, _, configuration = name.partition(":")
    offline = os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on")
    try:
        import datasets
        import datasets.utils.logging as logging

        logging.set_verbosity_error()
        logging.disable_progress_bar()
    except ImportError as error:
        raise StudioError("Hub datasets need the package `datasets`.", "pip install datasets") from error
    try:
        with _cache_only(offline or not _reachable(repository)) as cached:
            data = datasets.load_dataset(repository, configuration or None, split=split)
    except Exception as error:
        raise explain_hub(error, name, split, offline, cached) from error
    if progress is not None:
        progress(1, 1)
    if not len(data):
        raise StudioError(f"The split {split} of {name} has no rows.", "Name another split.")
    known = {column.name: column for column in columns_of(data.data)}
    store = HubStore(data)
    columns = store.names.columns([known.get(column, Column(column, "text")) for column in data.column_names])
    return Dataset(store, columns, "hub", "utf-8", name, None, {"split": split})


def _reachable(repository: str) -> bool:
    """Whether the hub answers within seconds, whatever it says: `datasets` itself would try for half a minute."""
    import huggingface_hub as hub

    try:
        hub.HfApi().dataset_info(repository, timeout=5)
    except (hub.errors.HfHubHTTPError, hub.errors.HFValidationError):
        return True  # it answered, or the name is wrong: `datasets` says what
    except Exception:  # the HTTP client's own errors; which client it is (httpx, requests) depends on the hub's version
        return False
    return True


@contextlib.contextmanager
def _cache_only(wanted: bool) -> Iterator[bool]:
    """`datasets` and the hub's client look at the local cache only, inside."""
    import datasets.config as first
    import huggingface_hub.constants as second

    before = first.HF_HUB_OFFLINE, second.HF_HUB_OFFLINE
    if wanted:
        first.HF_HUB_OFFLINE = second.HF_HUB_OFFLINE = True
    try:
        yield wanted
    finally:
        first.HF_HUB_OFFLINE, second.HF_HUB_OFFLINE = before


def explain_hub(error: Exception, name: str, split: str, offline: bool, cached: bool = False) -> StudioError:
    """What an error of the hub means to a person. OFFLINE: switched off by the person; CACHED: only the cache was
    looked at."""
    text = f"{type(error).__name__}: {error}"
    if "split" in text.lower() and "Unknown split" in text:
        return StudioError(f"{name} has no split {split!r}.", text.split(". ")[-1][:200])
    if "Config name is missing" in text or "BuilderConfig" in text:
        return StudioError(f"{name} needs a configuration.", f"Write {name.split(':')[0]}:CONFIGURATION.")
    away = ("Connection", "Offline", "offline", "Timeout", "resolve", "MaxRetry", "LocalEntryNotFound", "reach")
    if offline or cached or any(word in text for word in away):
        why = "the hub is switched off (HF_HUB_OFFLINE)" if offline else "the hub can't be reached"
        hint = "If it is a file, check the path; else connect, or copy the dataset here and name the file."
        return StudioError(f"{name} is no file here, and {why}.", hint)
    if "doesn't exist" in text or "NotFound" in text or "404" in text:
        return StudioError(f"{name} is neither a file here nor a dataset on the hub.", "Check the name.")
    if "gated" in text.lower() or "401" in text or "403" in text:
        return StudioError(f"{name} needs access rights.", "Accept its terms on the hub and run `hf auth login`.")
    return StudioError(f"{name} can't be loaded from the hub ({text.splitlines()[0][:200]}).", "Check the name.")
