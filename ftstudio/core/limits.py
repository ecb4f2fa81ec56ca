"""From where on the detectors call an answer an error. Part of the recipe: what is counted can be told and repeated."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Limits(BaseModel):
    """The parameters of the error categories; the defaults are those measured on human text (see the detectors)."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    too_long: float = Field(2.0, gt=1, description="times the words of the reference from which an answer is too long")
    too_short: float = Field(0.5, gt=0, lt=1, description="share of the reference's words below which it is too short")
    phrase_words: int = Field(20, ge=1, le=200, description="repetitive: words of the longest phrase looked for")
    phrase_times: int = Field(3, ge=2, description="repetitive: how often in a row a phrase must stand")
    repeated_share: float = Field(0.2, gt=0, lt=1, description="repetitive: share of 4-grams that are repeats")
    same_answer: int = Field(3, ge=2, description="mode_collapse: different prompts that share one answer")
    copied_share: float = Field(0.5, gt=0, lt=1, description="copying: share of the 8-grams that stand in the prompt")
    short_text: int = Field(40, ge=0, description="misspelling: below so many words one unknown word is enough")
    language_score: float = Field(0.6, gt=0, lt=1, description="wrong_language: how sure the language model must be")
    off_topic_rouge: float = Field(0.1, gt=0, lt=1, description="off_topic: ROUGE-L below which a row is looked at")
    off_topic_percent: float = Field(
        5.0, gt=0, lt=100, description="off_topic: percent of prompts less like their reference"
    )
    confident: float = Field(0.9, gt=0, le=1, description="confident_wrong: probability of a wrong label that is sure")
    near_miss: float = Field(0.1, gt=0, lt=1, description="near_miss: lead of the wrong label, at most")
    rare_label: float = Field(0.1, gt=0, lt=1, description="rare_class: share of an even share below which one is rare")
    far_off: float = Field(1.0, gt=0, description="far_off: standard deviations of the references from which on")
    out_of_order: float = Field(0.25, gt=0, lt=1, description="rank_inversion: share of comparisons that may be wrong")
    length_bias: float = Field(0.3, gt=0, lt=1, description="length_bias: correlation of error and unlike length")
    hub: int = Field(5, ge=2, description="hub: questions that one wrong text answers")
    all_alike: float = Field(0.5, gt=0, lt=1, description="anisotropy: mean cosine of unrelated texts")
    spelling: str = Field("auto", description="word list: auto, en, en-US (American spellings only), de, es, fr, …")
