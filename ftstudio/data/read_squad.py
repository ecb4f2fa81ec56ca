"""SQuAD: questions on paragraphs of articles, one row a question (Rajpurkar et al. 2016, arXiv 1606.05250)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from ftstudio.data.aside import Aside
from ftstudio.data.dataset import Row


def is_squad(value: Any) -> bool:
    """Whether VALUE is `{"data": [{"paragraphs": [{"context", "qas"}]}]}`, as versions 1.1 and 2.0 have it."""
    articles = _articles(value)
    first = articles[0] if articles else None
    return isinstance(first, dict) and isinstance(first.get("paragraphs"), list)


def _articles(value: Any) -> list[Any]:
    found = value.get("data") if isinstance(value, dict) else value
    return found if isinstance(found, list) else []


def squad_rows(value: Any, aside: Aside) -> list[Row]:
    """The rows: id, title, context, question, answer (the first; empty where there is none) and answers (all, with
    where they start, in characters of the context). What is no question is put ASIDE, by its number."""
    rows: list[Row] = []
    for number, (article, paragraph, question) in enumerate(_questions(value), 1):
        answers = question.get("answers") if isinstance(question, dict) else None
        answers = answers if isinstance(answers, list) else []
        known = [answer for answer in answers if isinstance(answer, dict) and isinstance(answer.get("text"), str)]
        bad = not isinstance(question, dict) or not isinstance(question.get("question"), str)
        if bad or not isinstance(paragraph.get("context"), str):
            raw = json.dumps(question, ensure_ascii=False, default=str)
            aside.add(number, "question without a text or a context (its number stands for the line)", raw)
            continue
        texts = [answer["text"] for answer in known]
        rows.append(
            {
                "id": question.get("id", str(number)),
                "title": article.get("title", ""),
                "context": paragraph["context"],
                "question": question["question"],
                "answer": texts[0] if texts else "",
                "answers": {"text": texts, "answer_start": [answer.get("answer_start") for answer in known]},
                **({"is_impossible": True} if question.get("is_impossible") else {}),
            }
        )
    return rows


def _questions(value: Any) -> Iterator[tuple[dict[str, Any], dict[str, Any], Any]]:
    for article in _articles(value):
        article = article if isinstance(article, dict) else {}
        paragraphs = article.get("paragraphs")
        for paragraph in paragraphs if isinstance(paragraphs, list) else [None]:
            paragraph = paragraph if isinstance(paragraph, dict) else {}
            questions = paragraph.get("qas")
            for question in questions if isinstance(questions, list) else [None]:
                yield article, paragraph, question
