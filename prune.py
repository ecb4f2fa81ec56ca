import json, shutil
from pathlib import Path
from ftstudio.engine import resume
base=Path('/tmp/rev-d/ck'); shutil.rmtree(base, ignore_errors=True); base.mkdir()
def mk(step, loss=None, damage=False):
    f=base/f'checkpoint-{step}'; f.mkdir(); (f/'w').write_bytes(b'x'*100); resume.seal(f, step=step, eval_loss=loss)
    if damage: (f/'w').write_bytes(b'y'*100)
mk(800,None,True); mk(1000,None,True)
print('newest', resume.newest(base))
mk(200)
resume.prune(base, 2)
print('after prune keep=2:', sorted(p.name for p in base.iterdir()), 'newest', resume.newest(base))
