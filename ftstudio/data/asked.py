"""Which rows ask the same, and whether they are answered the same, in little memory a row."""

from __future__ import annotations

from array import array


class Asked:
    """Rows by their prompt. Prompts and answers are known by digests of 16 bytes.

    A prompt that one row asks costs an entry of a dictionary and 24 bytes; more is kept only for those asked again.
    """

    def __init__(self) -> None:
        self._first: dict[bytes, int] = {}  # prompt → the number, among prompts, of the first row that asks it
        self._rows = array("q")  # by that number: the row
        self._answers = bytearray()  # by that number: its answer
        self._again: dict[bytes, tuple[list[int], set[bytes]]] = {}  # prompt → its rows and answers, where several

    def add(self, prompt: bytes, answer: bytes, row: int) -> bool:
        """ROW asks PROMPT and is answered with ANSWER (empty: running text, which has none). Whether an earlier row
        has both."""
        answer = answer or bytes(16)
        number = self._first.setdefault(prompt, len(self._rows))
        if number == len(self._rows):
            self._rows.append(row)
            self._answers += answer
            return False
        if prompt not in self._again:
            first = bytes(self._answers[16 * number : 16 * number + 16])
            self._again[prompt] = ([self._rows[number]], {first})
        rows, answers = self._again[prompt]
        known = answer in answers
        rows.append(row)
        answers.add(answer)
        return known

    def rows(self, prompt: bytes) -> list[int]:
        """The rows that ask PROMPT."""
        if prompt in self._again:
            return self._again[prompt][0]
        return [self._rows[self._first[prompt]]] if prompt in self._first else []

    def conflicts(self) -> list[list[int]]:
        """The rows of each prompt that has different answers."""
        return [rows for rows, answers in self._again.values() if len(answers) > 1]
