"""Pictures as a vision-language model reads them: its own processor's pixels, and the tokens that stand for them.

transformers' processors do it; the image processors are those that need Pillow alone. A processor's own video part
needs torchvision, so it is left out: only pictures are read here.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ftstudio.core.errors import StudioError
from ftstudio.data import looked

FILES = (
    "preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json", "chat_template.json",
    "chat_template.jinja",
)  # fmt: skip
"""A processor's files beside the tokenizer's."""
_READ = ("*.json", "*.jinja", "*.model", "*.txt")  # what a processor and its tokenizer are made of
_TYPES = ("token_type_ids", "mm_token_type_ids")


class PictureReader:
    """The processor of the model in FOLDER."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processor = _processor(folder)
        self.mark: str = self.processor.image_token
        """What stands for a picture in the text that a chat template writes."""
        self.types = [name for name in _TYPES if name in self.processor.model_input_names]

    @functools.cached_property
    def ids(self) -> frozenset[int]:
        """The tokens that a picture's features take the place of."""
        return frozenset(token for token in self.processor.image_token_ids if token is not None)

    def tokens_of(self, source: str | bytes) -> str:
        """The text that takes the place of the mark of the picture SOURCE. Raises BadRow where it can't be read."""
        return self._read(source)[1]

    def _read(self, source: str | bytes) -> tuple[dict[str, Any], str]:
        """(tensors, text) of a picture."""
        images = looked.load(source)
        inputs, texts = self.processor._process_images([images], return_tensors="pt", **self._settings)
        unused = set(self.processor.unused_input_names) | {"rows", "cols", "num_crops"}
        return {name: value for name, value in inputs.items() if name not in unused}, texts[0]

    @functools.cached_property
    def _settings(self) -> dict[str, Any]:
        """What the processor itself tells its image processor."""
        merged = self.processor._merge_kwargs(tokenizer_init_kwargs=self.processor.tokenizer.init_kwargs)
        found = dict(merged["images_kwargs"])
        found.pop("return_tensors", None)
        return found

    def pixels(self, sources: Sequence[str | bytes]) -> list[dict[str, Any]]:
        """The tensors of each of SOURCES. Raises BadRow."""
        return [self._read(source)[0] for source in sources]

    def kinds(self, ids: Sequence[int]) -> list[int]:
        """1 where a picture's token stands among IDS."""
        return [int(token in self.ids) for token in ids]


def joined(rows: Sequence[Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """The pictures of ROWS (tensors of each picture of each row) as the model takes them for the whole batch.

    Models differ: most take all pictures of a batch one after another; those whose pixels come as [row, pictures, …]
    (Idefics, SmolVLM) take rows of pictures, filled up with black ones that they leave out.
    """
    import torch
    from torch.nn import functional

    whole = [picture for row in rows for picture in row]
    if not whole:
        return {}
    nested = (
        "pixel_values" in whole[0] and torch.is_tensor(whole[0]["pixel_values"]) and whole[0]["pixel_values"].dim() == 5
    )
    found: dict[str, Any] = {}
    for name, first in whole[0].items():
        if not torch.is_tensor(first):
            continue
        if nested and first.dim() >= 4:
            found[name] = _nested([[picture[name] for picture in row] for row in rows])
            continue
        parts = [picture[name] for picture in whole]
        if any(part.shape[1:] != first.shape[1:] for part in parts):  # pictures of other sizes: filled up
            most = [max(part.shape[axis] for part in parts) for axis in range(1, first.dim())]
            parts = [
                functional.pad(part, [n for axis in range(first.dim() - 1, 0, -1)
                                      for n in (0, most[axis - 1] - part.shape[axis])])
                for part in parts
            ]  # fmt: skip
        found[name] = torch.cat(parts)
    return found


def _nested(rows: Sequence[Sequence[Any]]) -> Any:
    """Tensors [1, tiles, …] of each picture of ROWS as [rows, most tiles of a row, …], filled up with zeros."""
    import torch
    from torch.nn import functional

    flat = [picture for row in rows for picture in row]
    size = [max(part.shape[axis] for part in flat) for axis in range(2, flat[0].dim())]
    most = max(sum(part.shape[1] for part in row) for row in rows)
    found = torch.zeros((len(rows), most, *size), dtype=flat[0].dtype, device=flat[0].device)
    for place, row in enumerate(rows):
        at = 0
        for part in row:
            pad = [n for axis in range(part.dim() - 1, 1, -1) for n in (0, size[axis - 2] - part.shape[axis])]
            found[place, at : at + part.shape[1]] = functional.pad(part[0], pad)
            at += part.shape[1]
    return found


def _processor(folder: Path) -> Any:
    """transformers' processor of the model in FOLDER. Raises StudioError where it has none that is known."""
    if importlib.util.find_spec("PIL") is None:
        raise StudioError("Pictures are read with Pillow, which isn't installed.", "pip install 'ftstudio[pictures]'")
    import transformers
    from transformers import AutoConfig, AutoImageProcessor, AutoTokenizer
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES

    from ftstudio.core import files

    local = {"local_files_only": True, "trust_remote_code": False}
    settings = files.read_json(folder / "processor_config.json")
    settings = settings if isinstance(settings, dict) else {}
    try:
        kind = AutoConfig.from_pretrained(folder, **local).model_type
        name = settings.get("processor_class") or PROCESSOR_MAPPING_NAMES.get(kind)
        made = getattr(transformers, str(name))
        tokenizer = AutoTokenizer.from_pretrained(folder, **local)
        images = AutoImageProcessor.from_pretrained(folder, backend="pil", **local)
        known = {
            key: value for key, value in settings.items()
            if key not in ("processor_class", "image_processor", "tokenizer", "video_processor", "auto_map")
        }  # fmt: skip
        parts: dict[str, Any] = {"image_processor": images, "tokenizer": tokenizer}
        if "video_processor" in made.get_attributes():
            parts["video_processor"] = None
            made = _without_video(made)
        found = made(**parts, **known)
    except (OSError, ValueError, KeyError, AttributeError, TypeError, ImportError) as error:
        text = " ".join(str(error).split())[:200]
        raise StudioError(
            f"The processor of {folder.name} can't be loaded ({text}).",
            "A vision-language model's folder needs its preprocessor_config.json and the tokenizer's files.",
        ) from error
    if getattr(found, "image_token", None) is None:
        raise StudioError(f"The processor of {folder.name} names no token for pictures.", "Use another model.")
    return found


def _without_video(kind: Any) -> Any:
    """The processor class KIND, content with pictures and text."""

    class PicturesOnly(kind):  # type: ignore[misc]
        @classmethod
        def get_attributes(cls) -> list[str]:
            return [name for name in kind.get_attributes() if name != "video_processor"]

        def check_argument_for_proper_class(self, name: str, argument: Any) -> Any:
            return None if argument is None else super().check_argument_for_proper_class(name, argument)

    PicturesOnly.__name__ = kind.__name__
    return PicturesOnly


def reader_of(folder: Path) -> PictureReader:
    """The reader of the model in FOLDER, made once for its files as they are."""
    stats = [(path, path.stat()) for pattern in _READ for path in folder.glob(pattern)]
    return _reader(folder, tuple(sorted((path.name, stat.st_size, stat.st_mtime_ns) for path, stat in stats)))


@functools.lru_cache(maxsize=4)
def _reader(folder: Path, state: tuple[tuple[str, int, int], ...]) -> PictureReader:
    return PictureReader(folder)
