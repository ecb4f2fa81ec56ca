"""What is wrong with the letters: garbled characters, another language, personal data, secrets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from ftstudio.data import language
from ftstudio.data.checks.found import Check, found, of_some, said, spread
from ftstudio.data.example import Example
from ftstudio.data.personal import hits

LANGUAGES_OF = 20_000  # rows whose language is told: about 4,000 a second
SURE = 0.8  # score from which a language is believed
SHORTEST = 40  # characters: slang and names in shorter texts pass for any language
USUAL = 0.8  # share of a language from which another is unexpected
FEWEST = 20  # rows with a language, from which one can be called usual
_LOOK = 20_000  # characters of a text looked at for garbled ones


class Letters:
    """Garbled characters, personal data and secrets, in what is asked and what is answered."""

    def __init__(self, wanted: Collection[str]) -> None:
        self.wanted = wanted
        self.garbled: list[int] = []
        self.rows: dict[str, list[int]] = {"personal_data": [], "secrets": []}
        self.kinds: dict[str, Counter[str]] = {"personal_data": Counter(), "secrets": Counter()}
        self._personal = bool({"personal_data", "secrets"} & set(wanted))

    def add(self, index: int, asked: str, answered: str, example: Example | None) -> None:
        """Look at the row."""
        if "mojibake" in self.wanted and (is_garbled(asked) or is_garbled(answered)):
            self.garbled.append(index)
        if not self._personal:
            return
        kinds = {(hit.secret, hit.kind) for text in (asked, answered) for hit in hits(text)}
        for secret, name in ((False, "personal_data"), (True, "secrets")):
            mine = {kind for is_secret, kind in kinds if is_secret == secret}
            if mine and name in self.wanted:
                self.rows[name].append(index)
                self.kinds[name].update(mine)

    def checks(self) -> list[Check]:
        """What was found."""
        text = f"{said(self.garbled)} with garbled characters: read in the wrong encoding once."
        result = [found("mojibake", "warning", self.garbled, text)]
        for name, what in (("personal_data", "personal data"), ("secrets", "secrets")):
            kinds = ", ".join(f"{kind} in {count:,}" for kind, count in self.kinds[name].most_common())
            text = f"{said(self.rows[name])} with {what} ({kinds}); a model may learn them by heart."
            result.append(found(name, "warning", self.rows[name], text, kinds=dict(self.kinds[name])))
        return result


def is_garbled(text: str) -> bool:
    """Whether TEXT was read in the wrong encoding somewhere on its way (ftfy's measure), or lost characters on it."""
    if text.isascii():
        return False
    from ftfy.badness import is_bad

    return "\ufffd" in text or bool(is_bad(text[:_LOOK]))


class Languages:
    """The language of what is asked and of what is answered, and the rows that have another than nearly all."""

    def __init__(self, count: int) -> None:
        self.count, self.step = count, spread(count, LANGUAGES_OF)
        self.rows: dict[str, list[tuple[int, str]]] = {"prompt": [], "answer": []}

    def add(self, index: int, asked: str, answered: str, example: Example | None) -> None:
        """Tell the row's languages."""
        if index % self.step:
            return
        for side, text in (("prompt", asked), ("answer", answered)):
            told = language.detect(text) if len(text) >= SHORTEST else None
            if told is not None and told[1] >= SURE:
                self.rows[side].append((index, told[0]))

    @property
    def mix(self) -> dict[str, dict[str, int]]:
        """side → language → rows, the most frequent first."""
        counts = {side: Counter(code for _, code in rows) for side, rows in self.rows.items()}
        return {side: dict(count.most_common(20)) for side, count in counts.items() if count}

    def checks(self) -> list[Check]:
        """The rows in an unexpected language."""
        strange: dict[int, str] = {}
        usual: dict[str, str] = {}
        for side, rows in self.rows.items():
            count = Counter(code for _, code in rows)
            if count.total() < FEWEST or (most := count.most_common(1)[0])[1] < USUAL * count.total():
                continue
            usual[side] = most[0]
            for index, code in rows:
                if code != most[0]:
                    strange.setdefault(index, code)
        some = of_some(-(-self.count // self.step), self.count)
        others = ", ".join(f"{code} {count:,}" for code, count in Counter(strange.values()).most_common(6))
        expected = " and ".join(sorted(set(usual.values())))
        text = f"{said(list(strange))} not in {expected} like nearly all others ({others}).{some}"
        return [found("language", "warning", sorted(strange), text, mix=self.mix, usual=usual)]
