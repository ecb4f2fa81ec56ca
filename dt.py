import torch
from transformers import LlamaConfig, LlamaForSequenceClassification, LlamaForCausalLM
from ftstudio import methods
cfg=LlamaConfig(hidden_size=32,intermediate_size=64,num_hidden_layers=1,num_attention_heads=2,num_key_value_heads=2,vocab_size=100,num_labels=3,pad_token_id=0)
for name in ("lora","adapter","prompt","freeze"):
    for cls in (LlamaForSequenceClassification, LlamaForCausalLM):
        try:
            m=cls(cfg).to(torch.float16)
            me=methods.get(name)
            kw={}
            if name=="lora" and cls is LlamaForCausalLM: kw={"modules_to_save":["lm_head"]}
            p=me.apply(m, me.settings(kw))
            print(name, cls.__name__, sorted({(n.split('.')[-2] , str(w.dtype)) for n,w in p.named_parameters() if w.requires_grad})[:6])
        except Exception as e: print(name, cls.__name__, type(e).__name__, str(e)[:150])
