# _without_padding: config name after set_attn for models with compatible flash list -> NAMES KeyError
from ftstudio.engine import attention
print('kernels-community/vllm-flash-attn3' in attention.NAMES)
