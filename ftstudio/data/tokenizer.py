"""A light tokenizer: `tokenizers` and the files beside a model; transformers would take seconds to import."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

from ftstudio.core.errors import StudioError
from ftstudio.core.files import read_json
from ftstudio.data.new_tokens import extend

Encoding = tuple[list[int], list[tuple[int, int]]]
Worded = tuple[list[int], list[int]]
"""Ids, and the number of the word that each belongs to."""
TOOL_TEMPLATE = "additional_chat_templates/tool_use.jinja"  # where transformers saves a second chat template, for tools
# of a model's folder, what is read here
FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja", "chat_template.json",
    "config.json", "generation_config.json", "vocab.json", "merges.txt", "vocab.txt", "*.model", "added_tokens.json",
    TOOL_TEMPLATE,
)  # fmt: skip
_NAMES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


class Backend(Protocol):
    """What turns text into ids: `tokenizers`, or transformers where there is no tokenizer.json."""

    def encode(self, texts: Sequence[str], special: bool) -> list[list[int]]: ...

    def spans(self, text: str, special: bool) -> Encoding: ...

    def pair(self, first: str, second: str) -> tuple[list[int], list[int]]: ...

    def of_words(self, rows: Sequence[Sequence[str]]) -> list[Worded]: ...

    def with_words(self, texts: Sequence[str]) -> list[Worded]: ...

    def targets(self, texts: Sequence[str]) -> list[list[int]]: ...

    def decode(self, ids: Sequence[int], skip_special: bool) -> str: ...

    def piece(self, token: int) -> str | None: ...

    def id_of(self, token: str) -> int | None: ...

    def added(self) -> dict[int, tuple[str, bool]]: ...

    def size(self) -> int: ...


class Tokenizer:
    """Text to ids and back, the special tokens and the chat template of a model. Thread-safe.

    `eos_ids` are all ids that end a text: the tokenizer's own and those of the model's generation settings.
    `prefix` and `suffix` are the special ids the tokenizer puts around a text (e.g. the begin token).
    """

    def __init__(self, backend: Backend, config: dict[str, Any], *, name: str, eos_ids: Iterable[int] = ()) -> None:
        self.backend, self.name = backend, name
        self.special_tokens: dict[str, str] = {
            key: text for key in _NAMES if (text := _token_text(config.get(key))) is not None
        }
        self.chat_template: str | None = _chat_template(config.get("chat_template"))
        self.tool_template: str | None = _chat_template(config.get("chat_template"), "tool_use")
        self.max_length: int | None = _sane(config.get("model_max_length"))
        self._added = backend.added()
        self.special_ids = frozenset(
            {token for token, (_, special) in self._added.items() if special}
            | {token for text in self.special_tokens.values() if (token := backend.id_of(text)) is not None}
        )
        self.bos_id, self.eos_id, self.pad_id, self.unk_id = (
            self._id(name) for name in ("bos_token", "eos_token", "pad_token", "unk_token")
        )
        own = [] if self.eos_id is None else [self.eos_id]
        self.eos_ids: tuple[int, ...] = tuple(dict.fromkeys([*own, *eos_ids]))
        if self.eos_id is None and self.eos_ids:
            self.eos_id = self.eos_ids[0]
        plain = self.encode("a", special=False)
        framed = self.encode("a", special=True)
        place = _find(framed, plain)
        self.prefix: tuple[int, ...] = tuple(framed[:place])
        self.suffix: tuple[int, ...] = tuple(framed[place + len(plain) :])

    def _id(self, name: str) -> int | None:
        text = self.special_tokens.get(name)
        return None if text is None else self.backend.id_of(text)

    @property
    def vocab_size(self) -> int:
        """How many tokens there are, added ones included."""
        return self.backend.size()

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        """The ids of TEXT; with SPECIAL also those the tokenizer adds around a text."""
        return self.backend.encode([text], special)[0]

    def encode_with_offsets(self, text: str, *, special: bool = False) -> Encoding:
        """(ids, character spans in TEXT)."""
        return self.backend.spans(text, special)

    def encode_batch(self, texts: Sequence[str], *, special: bool = False) -> list[list[int]]:
        """The ids of each of TEXTS, many times faster than one by one."""
        return self.backend.encode(texts, special)

    def encode_words(self, rows: Sequence[Sequence[str]]) -> list[Worded]:
        """The ids of each of ROWS of words, without special tokens, with the word that each id belongs to: as
        transformers' `is_split_into_words`. A word may have no id at all (only control characters, say)."""
        if self._needs_space:
            rows = [[word if word[:1].isspace() else f" {word}" for word in words] for words in rows]
        return self.backend.of_words(rows)

    @functools.cached_property
    def _needs_space(self) -> bool:
        """Whether words in a row would run together: a tokenizer in which the space belongs to the word."""
        [(ids, _)] = self.backend.of_words([["a", "b"]])
        return " " not in self.decode(ids).strip()

    def encode_with_words(self, texts: Sequence[str]) -> list[Worded]:
        """The ids of each of TEXTS, without special tokens, with the number of the word that each belongs to (as the
        tokenizer parts words). Raises StudioError where it can't tell."""
        return self.backend.with_words(texts)

    def encode_targets(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each of TEXTS as what an encoder-decoder writes, without special tokens: some (Marian's) have
        pieces of their own for it."""
        return self.backend.targets(texts)

    @functools.cached_property
    def pair_frame(self) -> tuple[list[tuple[int, int]], list[tuple[int, int]], list[tuple[int, int]]]:
        """What the tokenizer puts before, between and after two texts, as (id, type) each; a line break between them
        where it puts nothing."""
        first, second = self.encode("a"), self.encode("a")
        ids, types = self.backend.pair("a", "a")
        marked = list(zip(ids, types, strict=True))
        start = _find(ids, first)
        again = start + len(first) + _find(ids[start + len(first) :], second)
        middle = marked[start + len(first) : again] or [(token, 0) for token in self.encode_after("\n")]
        return marked[:start], middle, marked[again + len(second) :]

    @functools.cached_property
    def second_type(self) -> int:
        """The type of a pair's second text: 1 for BERT's kind, 0 for most others."""
        ids, types = self.backend.pair("a", "a")
        second = self.encode("a")
        start = _find(ids, second)
        return types[start + len(second) + _find(ids[start + len(second) :], second)] if second else 0

    def encode_after(self, text: str) -> list[int]:
        """The ids of TEXT as a continuation: without special tokens and without the space that some tokenizers put
        before a text."""
        if not text:
            return []
        for anchor in ("\n", "a", "."):
            head = self.encode(anchor)
            both = self.encode(anchor + text)
            if both[: len(head)] == head:
                return both[len(head) :]
        ids = self.encode(text)
        return ids[1:] if ids and self.backend.piece(ids[0]) == "▁" and not text.startswith((" ", "▁")) else ids

    def decode(self, ids: Sequence[int], *, skip_special: bool = True) -> str:
        """The text of IDS."""
        return self.backend.decode(ids, skip_special)

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """Each of IDS as readable text, with its spaces; bytes that are no whole character as <0xNN>."""
        return [self._piece(int(token)) for token in ids]

    @functools.lru_cache(maxsize=65536)  # noqa: B019 - tokenizers live as long as the program
    def _piece(self, token: int) -> str:
        if token in self._added:
            return self._added[token][0]
        piece = self.backend.piece(token)
        if piece is None:
            return f"<{token}>"
        if match := _BYTE.fullmatch(piece):
            return _bytes_text(bytes([int(match.group(1), 16)]))
        if self._is_byte_level:
            return _bytes_text(bytes(_byte_table().get(char, 63) for char in piece))
        if piece.startswith("##"):
            return piece[2:]
        return piece.replace("▁", " ")

    @functools.cached_property
    def _is_byte_level(self) -> bool:
        pieces = [self.backend.piece(token) or "" for token in range(min(400, self.vocab_size))]
        table = _byte_table()
        usual = [piece for index, piece in enumerate(pieces) if piece and index not in self._added]
        strange = sum(all(char in table for char in piece) for piece in usual)
        return bool(usual) and strange == len(usual) and self.backend.id_of("Ġ") is not None

    @property
    def special_texts(self) -> list[str]:
        """The texts of all special tokens."""
        return [self.backend.piece(token) or "" for token in sorted(self.special_ids)]

    @functools.cached_property
    def end_texts(self) -> tuple[str, ...]:
        """The texts of all special tokens, longest first: what may end a turn in a chat template."""
        texts = {text for token, (text, special) in self._added.items() if special or token in self.eos_ids}
        return tuple(sorted(texts | set(self.special_tokens.values()), key=len, reverse=True))


def _token_text(value: Any) -> str | None:
    if isinstance(value, dict):
        value = value.get("content")
    return value if isinstance(value, str) and value else None


def _chat_template(value: Any, name: str = "default") -> str | None:
    """The chat template NAME where VALUE holds several by name (any, for the default), else the only one."""
    if isinstance(value, list):
        named = {part.get("name"): part.get("template") for part in value if isinstance(part, dict)}
        value = named.get(name) or (next(iter(named.values()), None) if name == "default" else None)
    return value if isinstance(value, str) and value.strip() else None


def _sane(value: Any) -> int | None:
    return int(value) if isinstance(value, (int, float)) and 0 < value < 1e9 else None


def _find(whole: Sequence[int], part: Sequence[int]) -> int:
    for place in range(len(whole) - len(part) + 1):
        if list(whole[place : place + len(part)]) == list(part):
            return place
    return 0


@functools.cache
def _byte_table() -> dict[str, int]:
    """GPT-2's printable stand-ins for bytes (`bytes_to_unicode` in openai/gpt-2), turned round."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {chr(code): code for code in plain}
    extra = 0
    for code in range(256):
        if code not in plain:
            table[chr(256 + extra)] = code
            extra += 1
    return table


def _bytes_text(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return "".join(chr(code) if code < 128 else f"<0x{code:02X}>" for code in data)


class _Fast:
    """The `tokenizers` library."""

    def __init__(self, inner: Any) -> None:
        inner.no_truncation()
        inner.no_padding()
        self.inner = inner

    def encode(self, texts: Sequence[str], special: bool) -> list[list[int]]:
        return [found.ids for found in self.inner.encode_batch_fast(list(texts), add_special_tokens=special)]

    def spans(self, text: str, special: bool) -> Encoding:
        found = self.inner.encode(text, add_special_tokens=special)
        return found.ids, found.offsets

    def pair(self, first: str, second: str) -> tuple[list[int], list[int]]:
        found = self.inner.encode(first, second)
        return found.ids, found.type_ids

    def of_words(self, rows: Sequence[Sequence[str]]) -> list[Worded]:
        found = self.inner.encode_batch([list(words) for words in rows], is_pretokenized=True, add_special_tokens=False)
        return [(one.ids, [-1 if word is None else word for word in one.word_ids]) for one in found]

    def with_words(self, texts: Sequence[str]) -> list[Worded]:
        found = self.inner.encode_batch(list(texts), add_special_tokens=False)
        return [(one.ids, [-1 if word is None else word for word in one.word_ids]) for one in found]

    def targets(self, texts: Sequence[str]) -> list[list[int]]:
        return self.encode(texts, False)

    def decode(self, ids: Sequence[int], skip_special: bool) -> str:
        return str(self.inner.decode(list(map(int, ids)), skip_special_tokens=skip_special))

    def piece(self, token: int) -> str | None:
        return self.inner.id_to_token(token)

    def id_of(self, token: str) -> int | None:
        return self.inner.token_to_id(token)

    def added(self) -> dict[int, tuple[str, bool]]:
        return {token: (part.content, part.special) for token, part in self.inner.get_added_tokens_decoder().items()}

    def size(self) -> int:
        return int(self.inner.get_vocab_size(with_added_tokens=True))


class _Slow:
    """transformers' AutoTokenizer, for models without a tokenizer.json."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def encode(self, texts: Sequence[str], special: bool) -> list[list[int]]:
        return [list(self.inner.encode(text, add_special_tokens=special)) for text in texts]

    def spans(self, text: str, special: bool) -> Encoding:
        ids = self.encode([text], special)[0]
        return ids, [(0, 0)] * len(ids)

    def pair(self, first: str, second: str) -> tuple[list[int], list[int]]:
        found = self.inner(first, second)
        ids = list(found["input_ids"])
        return ids, list(found.get("token_type_ids") or [0] * len(ids))

    def of_words(self, rows: Sequence[Sequence[str]]) -> list[Worded]:
        found: list[Worded] = []
        for words in rows:
            parts = self.encode(words, False)
            found.append(
                ([token for part in parts for token in part], [at for at, part in enumerate(parts) for _ in part])
            )
        return found

    def with_words(self, texts: Sequence[str]) -> list[Worded]:
        raise StudioError(
            "This tokenizer doesn't tell where words begin: it has no tokenizer.json.",
            "Mask single tokens (options.whole_words: false), or save the tokenizer in transformers' fast form.",
        )

    def targets(self, texts: Sequence[str]) -> list[list[int]]:
        if not texts:
            return []
        return [list(ids) for ids in self.inner(text_target=list(texts), add_special_tokens=False)["input_ids"]]

    def decode(self, ids: Sequence[int], skip_special: bool) -> str:
        return str(self.inner.decode(list(ids), skip_special_tokens=skip_special))

    def piece(self, token: int) -> str | None:
        return self.inner.convert_ids_to_tokens(token)

    def id_of(self, token: str) -> int | None:
        found = self.inner.convert_tokens_to_ids(token)
        return found if isinstance(found, int) else None

    def added(self) -> dict[int, tuple[str, bool]]:
        return {token: (part.content, part.special) for token, part in self.inner.added_tokens_decoder.items()}

    def size(self) -> int:
        return len(self.inner)


def load_tokenizer(
    model: str | os.PathLike[str], *, relative_to: Path | None = None, new: Sequence[str] = ()
) -> Tokenizer:
    """The tokenizer of MODEL: a folder, `demo`, or a hub id (from the local cache, else downloaded).

    NEW are tokens that it is given beside its own. Raises StudioError where there is none, where it can't be read or
    reached, or where one of NEW can't be added.
    """
    folder, name = model_folder(model, relative_to=relative_to)
    configs = {file: read_json(folder / f"{file}.json") for file in ("tokenizer_config", "special_tokens_map")}
    config: dict[str, Any] = {}
    for part in (configs["special_tokens_map"], configs["tokenizer_config"]):
        config |= {key: value for key, value in (part or {}).items() if value is not None}
    for file in ("chat_template.jinja", "chat_template.json"):
        try:
            text = (folder / file).read_text("utf-8")
        except (OSError, UnicodeDecodeError):
            continue
        config["chat_template"] = text if file.endswith("jinja") else json.loads(text).get("chat_template")
        break
    with contextlib.suppress(OSError, UnicodeDecodeError):
        text = (folder / TOOL_TEMPLATE).read_text("utf-8")
        usual = {"name": "default", "template": _chat_template(config.get("chat_template"))}
        config["chat_template"] = [usual, {"name": "tool_use", "template": text}]
    whole = folder / "tokenizer.json"
    if not whole.is_file():
        if new:
            raise StudioError(
                f"architecture.new_tokens: {name} has no tokenizer.json, so its vocabulary can't grow.",
                "Save its tokenizer in transformers' fast form, or use another model.",
            )
        return _slow(folder, name, config)
    try:
        from tokenizers import Tokenizer as Inner

        backend = _Fast(Inner.from_file(str(whole)))
    except Exception as error:  # the Rust library raises bare Exception
        raise StudioError(f"{whole} can't be read ({str(error)[:150]}).", "Copy the model again.") from error
    _complete(backend.inner, config)
    extend(backend.inner, new, name)
    return Tokenizer(backend, config, name=name, eos_ids=_eos_ids(folder))


def _complete(inner: Any, config: dict[str, Any]) -> None:
    """Add the tokens that only tokenizer_config.json knows, in the order of transformers' TokenizersBackend.

    What frames a text is as tokenizer.json says: like transformers, `add_bos_token` and the like are left aside.
    """
    from tokenizers import AddedToken

    known = inner.get_added_tokens_decoder()
    extra = config.get("added_tokens_decoder")
    for key, part in sorted(_numbered(extra).items()):
        if key not in known:
            flags = {flag: part[flag] for flag in ("single_word", "lstrip", "rstrip", "normalized") if flag in part}
            token = AddedToken(part["content"], special=bool(part.get("special")), **flags)
            (inner.add_special_tokens if part.get("special") else inner.add_tokens)([token])
    more = config.get("extra_special_tokens") or config.get("additional_special_tokens") or []
    own = [value for key, value in config.items() if key.endswith("_token") and key not in _NAMES]
    own += more.values() if isinstance(more, dict) else more if isinstance(more, list) else []
    wanted = [_token_text(value) for value in (*(config.get(key) for key in _NAMES), *own)]
    inner.add_special_tokens([text for text in dict.fromkeys(wanted) if text])


def _numbered(value: Any) -> dict[int, dict[str, Any]]:
    """`added_tokens_decoder` with its ids as numbers; entries that are none are left out."""
    if not isinstance(value, dict):
        return {}
    pairs = ((key, part) for key, part in value.items() if str(key).isdecimal() and isinstance(part, dict))
    return {int(key): part for key, part in pairs if isinstance(part.get("content"), str)}


def _eos_ids(folder: Path) -> list[int]:
    for file in ("generation_config.json", "config.json"):
        value = (read_json(folder / file) or {}).get("eos_token_id")
        if isinstance(value, int):
            return [value]
        if isinstance(value, list) and value:
            return [token for token in value if isinstance(token, int)]
    return []


def _slow(folder: Path, name: str, config: dict[str, Any]) -> Tokenizer:
    if not any(next(folder.glob(pattern), None) for pattern in ("vocab.*", "*.model", "tokenizer_config.json")):
        raise StudioError(f"{name} has no tokenizer.", "A model folder needs a tokenizer.json.")
    try:
        from transformers import AutoTokenizer

        inner = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    except Exception as error:
        message = f"{name}: its tokenizer can't be loaded ({str(error).splitlines()[0][:150]})."
        raise StudioError(message, "A model folder needs a tokenizer.json.") from error
    for key in _NAMES:
        config.setdefault(key, getattr(inner, key, None))
    config.setdefault("chat_template", getattr(inner, "chat_template", None))
    return Tokenizer(_Slow(inner), config, name=name, eos_ids=_eos_ids(folder))


def model_folder(model: str | os.PathLike[str], *, relative_to: Path | None = None) -> tuple[Path, str]:
    """(folder with the tokenizer's and configuration files of MODEL, its name).

    MODEL is a folder, `demo` or a hub id; a relative folder is looked for from RELATIVE_TO first.
    """
    name = os.fspath(model)
    if name == "demo":
        from ftstudio import demo

        return Path(demo.MODEL), name
    path = Path(name).expanduser()
    places = [path] if path.is_absolute() or relative_to is None else [relative_to / path, path]
    for place in places:
        if place.is_dir():
            return place, name
        if place.is_file():
            raise StudioError(f"{name} is a file, not a model.", "Name the folder of the model, or a hub id.")
    if not re.fullmatch(r"[\w][\w.-]*(/[\w][\w.-]*)?", name):
        raise StudioError(f"There is no model folder {name!r}.", "Check the path, or name a hub id like owner/name.")
    return _hub_folder(name), name


def _hub_folder(name: str) -> Path:
    import huggingface_hub as hub

    for file in ("tokenizer.json", "tokenizer_config.json", "config.json"):
        found = hub.try_to_load_from_cache(name, file)
        if isinstance(found, str):
            return Path(found).parent
    offline = os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on")
    try:
        return Path(hub.snapshot_download(name, allow_patterns=list(FILES), etag_timeout=5))
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        hint = "Check the name, or copy the model here and name its folder."
        if not offline and ("RepositoryNotFound" in text or "404" in text):
            raise StudioError(f"{name} is neither a folder here nor a model on the hub.", hint) from error
        if "Gated" in text or "403" in text:
            hint = "Accept its terms on the hub and run `hf auth login`."
            raise StudioError(f"{name} needs access rights.", hint) from error
        why = "the hub is switched off (HF_HUB_OFFLINE)" if offline else "the hub can't be reached"
        raise StudioError(f"{name} is no folder here and not in the hub's cache, and {why}.", hint) from error
