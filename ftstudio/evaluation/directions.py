"""Which end of a metric is the good one, by its exact name: metrics of `evaluate` and `lm_eval`, and values they give.

Of a name that isn't here it isn't known, and no verdict is given.
"""

from __future__ import annotations

HIGHER_IS_BETTER: dict[str, bool] = {
    **dict.fromkeys((
        "acc", "acc_norm", "acc_mutual_info", "acc_bytes", "acc_all", "accuracy", "overall_accuracy", "exact_match",
        "f1", "overall_f1", "precision", "recall", "mcc", "matthews_correlation", "roc_auc", "likelihood", "rouge",
        "rouge1", "rouge2", "rougeL", "rougeLsum", "bleu", "google_bleu", "sacrebleu", "nist_mt", "chrf", "meteor",
        "bertscore", "bleurt", "comet", "sari", "wiki_split", "mauve", "seqeval", "squad", "squad_v2", "cuad",
        "pearsonr", "spearmanr", "r_squared", "glue", "super_glue", "indic_glue", "competition_math", "code_eval",
    ), True),
    **dict.fromkeys((
        "perplexity", "mean_perplexity", "word_perplexity", "byte_perplexity", "bits_per_byte", "brier_score",
        "wer", "cer", "ter", "mer", "character", "charcut", "charcut_mt", "mae", "mse", "rmse", "mape", "smape", "mase",
    ), False),
}  # fmt: skip
