"""LoRA: two small matrices beside each chosen linear layer learn, the base stays as it is (Hu et al. 2021)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, field_validator

from ftstudio.core.errors import StudioError
from ftstudio.methods import targets as chosen
from ftstudio.methods.base import Encode, Method, Settings
from ftstudio.methods.refusals import Facts, Refusal

if TYPE_CHECKING:
    from torch import nn

FROM_WEIGHTS = ("pissa", "olora")
"""Ways to begin that take the adapter out of the base's own weights."""
_WHOLE_SVD = 1024  # up to this width all singular values are computed, above it the first ones by iteration


class LoraSettings(Settings):
    """Settings of LoRA."""

    r: int = Field(16, ge=1, le=1024, description="rank: how much can be learnt (and how big the adapter gets)")
    alpha: float = Field(32, gt=0, description="the update is scaled by alpha / r (alpha / √r with rslora)")
    dropout: float = Field(0.05, ge=0, lt=1, description="share of the adapter's inputs dropped while training")
    targets: str | tuple[str, ...] = Field(
        "all-linear",
        description="layers that get an adapter: all-linear, attention, names such as [q_proj, v_proj], or a regular "
        "expression over whole names",
    )
    part: chosen.Part = Field("language", description="of a model with eyes or ears: language, vision or both")
    modules_to_save: tuple[str, ...] = Field(
        (), description="modules that learn whole and are saved with the adapter, such as [embed_tokens, lm_head]"
    )
    init: Literal["default", "pissa", "olora"] = Field(
        "default", description="how the adapter begins: default (no change), pissa or olora (the strongest directions)"
    )
    rslora: bool = Field(False, description="rank-stabilised scaling alpha / √r: for ranks of 64 and more")
    dora: bool = Field(False, description="learn direction and magnitude apart (DoRA): often better, slower")
    lora_plus: float | None = Field(
        None, gt=1, le=100, description="LoRA+: the second matrix learns this many times faster; 16 is usual"
    )

    @field_validator("targets", mode="before")
    @classmethod
    def _targets(cls, value: Any) -> Any:
        return chosen.read(value)


class Lora(Method):
    """Low-rank adapters on linear layers."""

    name = "lora"
    title = "LoRA: small adapters learn, the base stays"
    changes = "Trains about 1 % as many weights as the model has, beside its linear layers; the base stays as it is."
    choose = "The right first choice: keeps most of what the base knows."
    costs = "Saves as a few MB, and base and tuned answer from one load."
    limits: ClassVar[tuple[str, ...]] = (
        "Learns less new knowledge than full fine-tuning on large data.",
        "pissa and olora train a copy of the base that they change; what is saved is an adapter of twice the rank over "
        "the untouched base.",
    )
    learning_rate = 2e-4
    adapter = True
    forgets = "little"
    model: ClassVar[type[Settings]] = LoraSettings

    def alters_base(self, settings: Any) -> bool:
        """PiSSA and OLoRA move a part of the base weights into the adapter."""
        return settings.init in FROM_WEIGHTS

    def tells_layers_apart(self, settings: Any) -> bool:
        """Where targets or whole modules are named by more than the last part of their name."""
        return chosen.tell_layers_apart(settings.targets) or chosen.tell_layers_apart(settings.modules_to_save)

    def refusals(self, settings: Any, facts: Facts) -> list[Refusal]:
        """PiSSA and OLoRA ask for plain LoRA over weights that are there in full."""
        found = []
        if settings.init in FROM_WEIGHTS:
            name = {"pissa": "PiSSA", "olora": "OLoRA"}[settings.init]
            if self.quantisation(settings) is not None:
                found.append(
                    Refusal(
                        "method.init", f"{name} can't start on quantised weights.", "Use method lora, or init: default."
                    )
                )
            if settings.dora:
                text = f"{name} with DoRA can't be turned into an adapter over the untouched base."
                found.append(Refusal("method.init", text, "Use one of them."))
        return found

    def apply(self, model: nn.Module, settings: Any, encode: Encode | None = None) -> nn.Module:
        """MODEL wrapped by peft, only the adapter's weights set to learn; its update is zero at the start.

        Random initial values are drawn from torch's global generator: seed it first for a repeatable run. With `pissa`
        and `olora` the base weights are changed, so that both together still say what the base says.
        """
        from peft import LoraConfig, get_peft_model

        from ftstudio.methods import anatomy, architecture, from_weights

        wanted = chosen.targets(model, settings.targets, settings.part)
        linear = anatomy.linear_layers(model)
        layers = [linear[name] for name in (linear if isinstance(wanted, str) else wanted)]
        init: Any = True
        if settings.init in FROM_WEIGHTS:
            init = _init(settings, layers, type(model).__name__)
            init = True if anatomy.on_meta(model) else init
        whole = chosen.modules(model, settings.modules_to_save)
        config = LoraConfig(
            r=settings.r,
            lora_alpha=settings.alpha,
            lora_dropout=settings.dropout,
            target_modules=wanted,
            modules_to_save=whole or None,
            init_lora_weights=init,
            use_rslora=settings.rslora,
            use_dora=settings.dora,
            bias="none",
            fan_in_fan_out=any(type(layer).__name__ == "Conv1D" for layer in layers),
            task_type=anatomy.task_type(model),
            trainable_token_indices=architecture.trainable_rows(model, whole),
        )
        there = sorted({name.rpartition(".")[2] for name in linear})
        try:
            wrapped: Any = get_peft_model(model, config)  # type: ignore[arg-type]
        except (ValueError, TypeError, NotImplementedError) as error:  # layers that peft can't put an adapter on
            raise refused(error, model, there) from error
        if init is not True:
            from_weights.remember(wrapped)
        return wrapped  # type: ignore[no-any-return]

    def rates(self, model: nn.Module, settings: Any) -> Mapping[str, float]:
        """LoRA+ (Hayou et al. 2024): B learns `lora_plus` times faster than A."""
        if settings.lora_plus is None:
            return {}
        return {name: settings.lora_plus for name, _ in model.named_parameters() if "lora_B" in name}

    def finish(self, model: nn.Module, settings: Any, folder: Path) -> None:
        """PiSSA's and OLoRA's adapter, turned into one over the untouched base."""
        if settings.init in FROM_WEIGHTS:
            from ftstudio.methods import from_weights

            from_weights.convert(model, folder)


def _init(settings: LoraSettings, layers: list[Any], model: str) -> str:
    """peft's word for how the adapter begins. Raises StudioError where a layer of MODEL doesn't allow it."""
    from ftstudio.methods import anatomy

    sizes = [anatomy.widths(layer) for layer in layers]
    if settings.r > min(map(min, sizes)):
        raise StudioError(
            f"method.r: {settings.init} with rank {settings.r} needs layers of at least that width; the smallest has "
            f"{min(map(min, sizes))}.",
            f"Set method.r to {min(map(min, sizes))} or less, or method.init to default.",
        )
    if settings.init == "olora" and any(type(layer).__name__ == "Conv1D" for layer in layers):
        text = f"method.init: olora takes the layers of {model} (Conv1D) the wrong way round."
        raise StudioError(text, "Set method.init to pissa or default.")
    if settings.init == "pissa" and max(map(max, sizes)) > _WHOLE_SVD:
        return "pissa_niter_16"  # as in Meng et al. 2024, table 5: seconds instead of minutes
    return settings.init


def refused(error: Exception, model: nn.Module, there: list[str]) -> StudioError:
    """What peft's refusal of MODEL's layers means to a person; THERE are the names of its linear layers."""
    text = " ".join(str(error).split())
    if "dropout" in text:
        what = f"method.dropout: the layers of {type(model).__name__} that LoRA goes on allow no dropout"
        return StudioError(
            f"{what} ({text[:120]}).", "Set method.dropout to 0, or name other layers in method.targets."
        )
    what = f"method.targets: LoRA can't go on these layers of {type(model).__name__}"
    return StudioError(f"{what} ({text[:160]}).", f"Name others of its linear layers: {', '.join(there[:12])}.")
