"""A loaded model as lm_eval takes it: as it is, and with the soft prompt that lies before what lm_eval asks.

lm_eval pads rows on the right where it asks for likelihoods, and on the left where it asks for text. On the right,
padding changes nothing that stands before it; on the left the soft prompt belongs between padding and row, as in
training (see `soft_prompts.written_with`).
"""

from __future__ import annotations

from typing import Any

import torch
from lm_eval.models.huggingface import HFLM, stop_sequences_criteria

from ftstudio.core.errors import StudioError
from ftstudio.engine.loss import soft_prompt
from ftstudio.engine.soft_prompts import apart_by_padding, written_with

ROWS = 8  # asked at once


def handed(model: Any, tokenizer: Any) -> HFLM:
    """MODEL, which may be a peft model with its adapter on or off, for lm_eval. Raises StudioError."""
    # adapters stay in the layers of the model they were put into; the vectors of a soft prompt don't
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    if not soft_prompt(model) or getattr(model, "_adapters_disabled", False):
        return HFLM(pretrained=inner, tokenizer=tokenizer, batch_size=ROWS)
    if getattr(inner.config, "is_encoder_decoder", False):
        raise StudioError(
            "lm_eval can't ask an encoder-decoder with a soft prompt.", "Leave the benchmark out, or use method lora."
        )
    return SoftPrompted(model, tokenizer)


class SoftPrompted(HFLM):
    """The peft MODEL with its soft prompt before every row, which takes its tokens' room where it stands inside."""

    def __init__(self, model: Any, tokenizer: Any, rows: int = ROWS) -> None:
        super().__init__(pretrained=model.get_base_model(), tokenizer=tokenizer, batch_size=rows)
        self.soft = model
        self.taken = int(model.active_peft_config.num_virtual_tokens)
        self._max_length = self.max_length - self.taken
        if self._max_length < 2:
            raise StudioError("The soft prompt leaves no room in the model's context for a benchmark's questions.")
        if apart_by_padding(model, self._max_length):
            self.batch_size_per_gpu = 1  # a sliding window would count the padding

    def _model_call(self, inps: Any, attn_mask: Any = None, labels: Any = None) -> Any:
        """Logits [rows, width, vocabulary] of the tokens INPS [rows, width] alone."""
        with torch.no_grad():
            return self.soft(input_ids=inps).logits[:, -inps.shape[1] :]

    def _model_generate(self, context: Any, max_length: int, stop: list[str], **settings: Any) -> Any:
        """CONTEXT [rows, width] and what is written after it, up to MAX_LENGTH tokens with it or one of STOP."""
        mask = settings.pop("attention_mask", None)
        mask = torch.ones_like(context) if mask is None else mask
        if settings.get("temperature", 0.0) == 0.0 and settings.get("do_sample") is None:
            settings["do_sample"] = False
        if settings.get("do_sample") is False:
            settings.pop("temperature", None)
        writer, inputs = written_with(self.soft, context, mask)
        inside = "inputs_embeds" in inputs  # vectors don't come back with what is written
        criteria = stop_sequences_criteria(self.tokenizer, stop, 0 if inside else context.shape[1], context.shape[0])
        found = writer.generate(
            **inputs,
            max_new_tokens=max_length - context.shape[1],
            stopping_criteria=criteria,
            pad_token_id=self.tokenizer.pad_token_id,
            use_cache=True,
            **settings,
        )
        return torch.cat((context, found), 1) if inside else found
