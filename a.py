import math, shutil, time
from pathlib import Path
from types import SimpleNamespace as NS
# 1 tokens_a_step
def code(n,bs,ga): return ga*n/(n/bs)
def real(n,bs,ga): return n/math.ceil(math.ceil(n/bs)/ga)
for n,bs,ga in ((9,8,1),(100,8,4),(200,8,8),(500,8,8),(1000,8,4)): print('rows/step', n,bs,ga,'code',code(n,bs,ga),'real',real(n,bs,ga), f'{code(n,bs,ga)/real(n,bs,ga)-1:+.0%}')
# 2 rollback on save step
from ftstudio.engine.callback import RunDirector
from ftstudio.core.run import RunFolder, Story
from ftstudio.core.watch import Watch
from ftstudio.engine import resume
p=Path('/tmp/rev-d/run1'); shutil.rmtree(p,ignore_errors=True); p.mkdir()
ck=p/'checkpoints'/'checkpoint-20'; ck.mkdir(parents=True); (ck/'w').write_bytes(b'x'); resume.seal(ck, step=20)
f=RunFolder(p)
ctl=NS(poll=lambda now=False: [], stopping=False, should_stop=lambda: False)
d=RunDirector(f, ctl, every=10, save=10, first=0, watch=Watch(spike="rollback", eval_rising="rollback", patience=1))
control=NS(should_save=False, should_evaluate=False, should_training_stop=False)
meter=NS(step=lambda: None, rate=lambda: 1.0, tokens=0, seconds=0.0, eta=lambda *a: 0.0)
tr=NS(state=NS(global_step=0,epoch=0.1,max_steps=100), meter=meter, utilisation=lambda s: None, tokens_a_step=lambda:1, accelerator=NS(scaler=None), control=control, losses=NS(sums=lambda:([],[],[])), held_out=[])
d.trainer=tr
d.steering.due=lambda *a: None
for s in range(1,31):
    tr.state.global_step=s
    due=d.planned(s,100); control.should_save='checkpoint' in due
    d.stepped(tr, {"loss": 2.0+0.01*(s%3) if s<30 else 50.0, "grad_norm":1.0,"learning_rate":1e-4})
print('spike at 30 (save step): wish', d._wish, 'should_save still', control.should_save)
# 3 extended run resumed
st=Story(); st.feed([{"kind":"start","total_steps":100,"steps_per_epoch":50,"resumed_from":None}, {"kind":"step","step":50,"loss":1.0},{"kind":"steer","step":50,"what":"steps","value":200},{"kind":"step","step":60,"loss":1.0},
 {"kind":"start","total_steps":100,"steps_per_epoch":50,"resumed_from":40},{"kind":"step","step":41,"loss":1.0},{"kind":"step","step":150,"loss":1.0}])
print('total after resume from before the extension', st.total_steps, 'step', st.step)
# 4 patience
from ftstudio.engine.watchdog import Watchdog
w=Watchdog(Watch(patience=3))
for s,l in ((50,1.0),(100,1.1),(150,1.2)): w.evaluated(s,l)
w2=Watchdog(Watch(patience=3)); print('after resume', [len(w2.evaluated(s,l)) for s,l in ((200,1.3),(250,1.35),(300,1.4),(350,1.5))])
# 5 beat after takeover
q=Path('/tmp/rev-d/run2'); shutil.rmtree(q,ignore_errors=True)
A=RunFolder(q); A.claim(); B=RunFolder(q); B._token='other'; 
from ftstudio.core import files; from dataclasses import asdict; from ftstudio.core.folder import here
files.write_json(B.owner_path, asdict(here('other')))  # another took it
A.beat(); print('owner after A.beat is A:', A._recorded_owner().token==A._token)
