import torch
p=torch.nn.Parameter(torch.randn(4,dtype=torch.float16)); o=torch.optim.AdamW([p],lr=1e-3)
s=torch.amp.GradScaler('cpu'); (s.scale((p.float()**2).sum())).backward()
try: s.unscale_(o); print('ok')
except Exception as e: print(type(e).__name__, e)
# bf16 AdamW: lost updates
torch.manual_seed(0)
for dt in (torch.float32, torch.bfloat16):
    w=torch.nn.Parameter((torch.randn(20000)*0.02).to(dt)); a=w.detach().clone().float()
    o=torch.optim.AdamW([w],lr=2e-5,weight_decay=0.,fused=True)
    for _ in range(100):
        w.grad=torch.ones_like(w); o.step()
    print(dt, 'mean move after 100 steps at lr 2e-5 (expected 2e-3):', float((a-w.detach().float()).mean()))
