"""The forgetting panel of a comparison: what tuned weights lost off the task, against the base.

`report.forgetting` keeps what it always held of the base and the run that is compared (`base_bits_per_byte`,
`tuned_bits_per_byte`, `change`, `text`, `bytes`, `tokens`, `arms`: bits a byte by weights), and adds

- `about`: what the bits a byte are of (see `engine.offtask`): general text, or the part of it that is written or
  filled in;
- `main`: the weights that `change`, `words`, `level` and `advice` are about; `words` is the verdict in one line,
  `level` little, some or much, `advice` `[{key, value, text}]` for the recipe (see `evaluation.forgotten`);
- `panel`: by weights `{change, bits_per_byte, kl, canaries, forms, held_out, off_task, guessing, level, words}`.
  `kl`: mean KL(base ‖ tuned), nats a token, on neutral prompts. `canaries`, `forms` and `held_out` (the task's rows,
  where they can be checked) are flips: `{n, base, tuned, broken, fixed, broken_at, fixed_at, p, verdict}`. `off_task`:
  error categories of answers to prompts off the task, `[{name, title, base, tuned, n, p, p_holm, verdict}]`. A model
  that writes no answers has no `forms` (None) and no `off_task`.

A model whose answers are labels or vectors of its task alone can forget nothing else to say: of it there is
`reason`, that in a sentence, and of its panel `held_out` alone.

What weights were measured at is kept in `<workspace>/answers`, as answers are.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ftstudio import demo, methods
from ftstudio.core import files
from ftstudio.core.errors import StudioError
from ftstudio.core.workspace import Workspace
from ftstudio.data import language
from ftstudio.data.tokenizer import load_tokenizer
from ftstudio.engine import drift, forgetting, offtask
from ftstudio.engine.arms import BASE, Arms
from ftstudio.engine.context import JobContext
from ftstudio.engine.gathering import Gathered
from ftstudio.engine.locate import locate
from ftstudio.engine.marks import texts_mark, weights_mark
from ftstudio.engine.neutral import PROMPTS
from ftstudio.evaluation import canaries, flips, forgotten, statistics
from ftstudio.evaluation.categories import categories, categorise
from ftstudio.evaluation.context import build
from ftstudio.evaluation.predictions import Prediction

OFF_TASK = ("empty", "repetitive", "encoding", "template_leak", "wrong_language", "refusal", "copying", "mode_collapse")


class Panel:
    """Measures the base and all tuned weights of ARMS off the task; see the top of this file."""

    def __init__(self, context: JobContext, found: Gathered, arms: Arms) -> None:
        self.context, self.found, self.arms = context, found, arms
        # where tokens were added: in those that all arms have
        new = found.recipe.architecture.new_tokens
        self.tokenizer = load_tokenizer(found.recipe.model) if new else found.own.tokenizer
        self.texts = forgetting.documents(demo.GENERAL)
        self.cache = Workspace(found.run.path.parent.parent).answers_path
        self.offtask = offtask.of(found.own, self.tokenizer)

    def run(self, report: Mapping[str, Any]) -> dict[str, Any] | None:
        """The report's part; REPORT tells right and wrong on the task's rows. None where the model is of no kind that
        can be asked. Raises Stopped."""
        if self.offtask is None:
            return self._labels_alone(report)
        facts: dict[str, dict[str, Any]] = {}
        for group in self.arms.groups:
            for name in [name for name in group if name not in self.arms.views]:
                kept = self._kept(name)
                if kept is None:
                    with self.arms.use(name) as model:
                        if isinstance(self.offtask, offtask.Causal) and not drift.causal(model):
                            return None
                        self.context.phase("scoring", f"forgetting: {name}")
                        kept = self._measure(model)
                    self._keep(name, kept)
                facts[name] = kept
        divergences = self._divergences(facts)
        panel = {name: self._part(name, facts, divergences, report) for name in self.arms.tuned}
        main = self.found.run.name if self.found.run.name in panel else next(iter(panel))
        base, own, recipe = facts[BASE], panel[main], self.arms.tuned[main].recipe
        return {
            "base_bits_per_byte": base["bits"],
            "tuned_bits_per_byte": own["bits_per_byte"],
            "change": own["change"],
            "text": "general text of ftstudio",
            "about": self.offtask.about,
            "bytes": base["bytes"],
            "tokens": base["tokens"],
            "arms": {name: one["bits"] for name, one in facts.items()},
            "main": main,
            "level": own["level"],
            "words": own["words"],
            "advice": forgotten.advice(
                own,
                adapter=methods.get(recipe.method.name).adapter,
                learning_rate=recipe.training.learning_rate,
                replay=recipe.data.replay is not None,
            ),
            "canaries_version": canaries.version(),
            "panel": panel,
        }

    def _labels_alone(self, report: Mapping[str, Any]) -> dict[str, Any]:
        """What can be told of a model that answers with labels or vectors: the rows of its task that it broke."""
        panel = {name: {"held_out": held_out(report, name)} for name in self.arms.tuned}
        main = self.found.run.name if self.found.run.name in panel else next(iter(panel))
        task, flips = self.found.own.task, panel[main]["held_out"]
        what = "vectors" if task.kind == "encoder" else "labels"
        reason = (
            f"A {task.name} model answers with {what} of its task alone: off it, there is nothing to forget to say."
        )
        return {
            "main": main,
            "change": None,
            "reason": reason,
            "words": forgotten.labels_words(main, flips) if flips is not None else reason,
            "level": None,
            "advice": [],
            "panel": panel,
        }

    # -- measuring -------------------------------------------------------------------------------------------------
    def _measure(self, model: Any) -> dict[str, Any]:
        assert self.offtask is not None
        stop = self.context.should_stop
        bits = self.offtask.bits(model, self.texts, stop)
        answers = self.offtask.answers(model, [form.text for form in canaries.forms()] + list(PROMPTS), stop)
        self.context.check()
        return {
            "bits": bits.per_byte,
            "bytes": bits.bytes,
            "tokens": bits.tokens,
            "right": offtask.right(self.offtask, model, stop),
            "forms": [form.kept(text) for form, text in zip(canaries.forms(), answers or (), strict=False)],
            "answers": answers or [],
        }

    def _divergences(self, facts: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
        """KL(base ‖ tuned) of all tuned weights, mean nats a token over the neutral prompts."""
        found = {name: value for name in self.arms.tuned if (value := facts[name].get("kl")) is not None}
        missing = [name for name in self.arms.tuned if name not in found]
        if not missing:
            return found
        self.context.phase("scoring", "forgetting: neutral prompts")
        assert self.offtask is not None
        stop = self.context.should_stop
        with self.arms.use(BASE) as model:
            before = list(self.offtask.said(model, stop))
        for name in missing:
            total, count = 0.0, 0
            with self.arms.use(name) as model:
                for old, new in zip(before, self.offtask.said(model, stop), strict=True):
                    new = new[:, : old.shape[-1]]  # the base never says a token it hasn't
                    total += float((old.exp() * (old - new)).double().sum())
                    count += len(old)
            found[name] = total / max(1, count)
            self._keep(name, {**facts[name], "kl": found[name]})
        return found

    # -- judging ---------------------------------------------------------------------------------------------------
    def _part(
        self,
        name: str,
        facts: Mapping[str, Mapping[str, Any]],
        divergences: Mapping[str, float],
        report: Mapping[str, Any],
    ) -> dict[str, Any]:
        assert self.offtask is not None
        base, own = facts[BASE], facts[name]
        writes = bool(base["answers"])
        part: dict[str, Any] = {
            "change": own["bits"] - base["bits"],
            "bits_per_byte": own["bits"],
            "kl": divergences.get(name),
            "canaries": forgotten.flips(base["right"], own["right"]),
            "forms": forgotten.flips(base["forms"], own["forms"]) if writes else None,
            "held_out": held_out(report, name),
            "off_task": off_task(base["answers"], own["answers"], self.tokenizer.end_texts) if writes else [],
            # the base answers no better than by chance: these questions say little about such a model
            "guessing": statistics.wilson(sum(base["right"]), len(base["right"]))[0] <= canaries.CHANCE,
        }
        part["level"] = forgotten.level(part)
        part["words"] = forgotten.words(name, part, self.offtask.about)
        return part

    # -- keeping ---------------------------------------------------------------------------------------------------
    def _path(self, name: str) -> Path:
        spec = self.arms.specification(name)
        tuned = self.arms.tuned.get(name)
        key = {
            "base": weights_mark(locate(self.found.recipe.model).folder),
            "tuned": weights_mark(tuned.weights) if tuned is not None else None,
            "spec": [spec.model, spec.dtype, spec.device, str(spec.quantisation)],
            "canaries": canaries.version(),
            "text": hashlib.sha256("\n\n".join(self.texts).encode()).hexdigest()[:12],
            "template": self.offtask.mark if self.offtask is not None else "",
        }
        mark = hashlib.blake2b(json.dumps(key, sort_keys=True, default=str).encode(), digest_size=10).hexdigest()
        return self.cache / f"forgetting-{mark}.json"

    def _kept(self, name: str) -> dict[str, Any] | None:
        value = files.read_json(self._path(name))
        wanted = {"bits", "bytes", "tokens", "right", "forms", "answers"}
        if not isinstance(value, dict) or not wanted <= value.keys():
            return None
        texts = self._texts()
        return value if value.get("texts", texts) == texts else None  # older ones name none

    def _keep(self, name: str, facts: Mapping[str, Any]) -> None:
        with contextlib.suppress(StudioError):  # a full disk costs the next comparison's time
            files.write_json(self._path(name), {**facts, "texts": self._texts()})

    def _texts(self) -> str:
        """The mark of what makes ids of texts: figures by another tokenizer are others."""
        return texts_mark(locate(self.found.recipe.model).folder)


def held_out(report: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    """What arm NAME fixed and broke of the task's own rows, where they tell right from wrong; None where they don't."""
    rows = [entry["arms"] for entry in report["per_row"] if BASE in entry["arms"] and name in entry["arms"]]
    by = flips.decider(rows)
    if not by:
        return None
    pairs = [(flips.right(row[BASE], by), flips.right(row[name], by)) for row in rows]
    known = [(bool(before), bool(after)) for before, after in pairs if before is not None and after is not None]
    return forgotten.flips([before for before, _ in known], [after for _, after in known]) if known else None


def off_task(base: Sequence[str], tuned: Sequence[str], special: Sequence[str]) -> list[dict[str, Any]]:
    """Error categories of the answers off the task that BASE and TUNED models gave, those that either has; called worse
    or better after Holm's correction for their number."""
    prompts = [*(form.text for form in canaries.forms()), *PROMPTS]
    usual = language.usual(base) or language.usual(prompts)  # there are no references that could tell the language
    both = []
    for answers in (base, tuned):
        rows = [Prediction(row, prompts[row], None, text) for row, text in enumerate(answers)]
        context = build(prompts, [None] * len(prompts), special_tokens=special, infer_contract=False)
        both.append(categorise(rows, replace(context, target_language=usual), references=False))
    known = categories()
    found: list[dict[str, Any]] = []
    judged: list[dict[str, Any]] = []
    for name in OFF_TASK:
        before, after = (set(one.rows.get(name, ())) for one in both)
        if not before and not after:
            continue
        p = statistics.mcnemar(len(before - after), len(after - before))
        found.append(
            {"name": name, "title": known[name].title if name in known else name, "base": len(before),
             "tuned": len(after), "n": len(prompts), "p": p, "p_holm": None, "verdict": statistics.UNCLEAR}
        )  # fmt: skip
        if len(before ^ after) >= 6:  # fewer never reach p = 0.05 (Tarone 1990)
            judged.append(found[-1])
    for entry, p in zip(judged, statistics.holm([entry["p"] for entry in judged]), strict=True):
        entry["p_holm"] = p
        if p < statistics.ALPHA:
            entry["verdict"] = "worse" if entry["tuned"] > entry["base"] else "better"
    return found
