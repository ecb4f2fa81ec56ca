"""Static embeddings read without torch: a sentence-transformers StaticEmbedding folder, in numpy.

A text's vector is the mean of its tokens' vectors, normalised: what SentenceTransformer(folder).encode gives.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from ftstudio.core.errors import StudioError

if TYPE_CHECKING:
    import numpy as np

STATIC = Path(__file__).parent / "static_embedding"  # the one that ftstudio ships
_TOKENS_AT_ONCE = 200_000
_TEXTS_AT_ONCE = 10_000
_PLAIN = re.compile(r"[\t\n\r -~]*").fullmatch  # without control characters, which BERT's normaliser takes out of words


def folder_of(path: Path) -> Path | None:
    """The folder within the model folder PATH that holds a static embedding; None where the model is another kind."""
    try:
        modules = json.loads((path / "modules.json").read_text())
        first = path / modules[0]["path"] if modules[0]["type"].endswith("StaticEmbedding") else None
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        first = path if not (path / "config_sentence_transformers.json").exists() else None
    if first is not None and (first / "tokenizer.json").is_file() and (first / "model.safetensors").is_file():
        return first
    return None


class StaticModel:
    """Token vectors and the tokenizer that names them. Keys `embedding.weight` or model2vec's `embeddings`."""

    def __init__(self, folder: Path) -> None:
        import numpy as np
        from safetensors import SafetensorError
        from safetensors.numpy import load_file
        from tokenizers import Tokenizer

        try:
            tensors = load_file(folder / "model.safetensors")
            self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        except (OSError, SafetensorError, Exception) as error:
            raise StudioError(f"The embedding model in {folder} can't be read: {error}.", "Choose another.") from error
        table = tensors.get("embedding.weight", tensors.get("embeddings"))
        if table is None or table.ndim != 2:
            raise StudioError(f"{folder}/model.safetensors holds no `embedding.weight`.", "Choose another model.")
        if "mapping" in tensors:
            table = table[tensors["mapping"]]
        self._table = np.ascontiguousarray(table, dtype=np.float32)
        if "weights" in tensors:
            self._table *= tensors["weights"].astype(np.float32)[:, None]
        if len(self._table) < self._tokenizer.get_vocab_size():
            raise StudioError(
                f"The tokenizer in {folder} has more tokens than the model has vectors.", "Choose another."
            )
        self._tokenizer.no_padding()
        parts = json.loads(self._tokenizer.to_str())
        kinds = [(parts.get(key) or {}).get("type") for key in ("normalizer", "pre_tokenizer", "model")]
        # BERT's cut at white space first, so that a text's tokens are those of its words
        self._by_word = kinds == ["BertNormalizer", "BertPreTokenizer", "WordPiece"]

    @property
    def dimensions(self) -> int:
        """Length of a vector."""
        return int(self._table.shape[1])

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors of TEXTS, float32 (texts, dimensions), of length 1; of a text without tokens, zeros."""
        import numpy as np

        found = np.zeros((len(texts), self.dimensions), dtype=np.float32)
        plain = [index for index, text in enumerate(texts) if self._by_word and _PLAIN(text)]
        for start in range(0, len(plain), _TEXTS_AT_ONCE):
            block = plain[start : start + _TEXTS_AT_ONCE]
            found[block] = self._sums_of_words([texts[index] for index in block])
        rest = sorted({*range(len(texts))} - {*plain})
        found[rest] = self._sums([texts[index] for index in rest])
        # the mean is the sum's direction: normalising makes them one
        norms = np.linalg.norm(found, axis=1, keepdims=True)
        return found / np.where(norms > 0, norms, 1.0)

    def _sums(self, texts: Sequence[str]) -> np.ndarray:
        """The sums of the vectors of each of TEXTS' tokens."""
        import numpy as np

        found = np.zeros((len(texts), self.dimensions), dtype=np.float32)
        encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)  # without offsets
        for index, encoding in enumerate(encodings):
            _add(found[index], self._table, encoding.ids)
        return found

    def _sums_of_words(self, texts: Sequence[str]) -> np.ndarray:
        """The same, every word cut into tokens once for all TEXTS."""
        import numpy as np

        lines = [text.split() for text in texts]
        places = {word: place for place, word in enumerate(dict.fromkeys(chain.from_iterable(lines)))}
        words = self._sums(list(places))
        found = np.zeros((len(texts), self.dimensions), dtype=np.float32)
        for index, line in enumerate(lines):
            _add(found[index], words, list(map(places.__getitem__, line)))
        return found


def _add(total: np.ndarray, table: np.ndarray, rows: Sequence[int]) -> None:
    """Add ROWS of TABLE to TOTAL."""
    import numpy as np

    for start in range(0, len(rows), _TOKENS_AT_ONCE):
        total += table[rows[start : start + _TOKENS_AT_ONCE]].sum(axis=0, dtype=np.float32)


@cache
def bundled() -> StaticModel:
    """The static embedding that ftstudio ships: 128 numbers a text, English. Raises StudioError where it is missing."""
    return StaticModel(STATIC)
