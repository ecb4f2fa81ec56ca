# settle window
import shutil
from pathlib import Path
from ftstudio.engine import resume
import os
b=Path('/tmp/rev-d/ck2'); shutil.rmtree(b,ignore_errors=True); b.mkdir()
def mk(f): f.mkdir(parents=True); (f/'w').write_bytes(b'x'); resume.seal(f, step=20)
mk(b/'checkpoint-20'); mk(b/'.saving'/'checkpoint-20')
orig=os.replace
def killed(*a): raise SystemExit('kill -9 here')
resume.os.replace=killed
try: resume.settle(b/'.saving'/'checkpoint-20', b/'checkpoint-20')
except SystemExit: pass
resume.os.replace=orig
print('newest after kill in settle:', resume.newest(b), '| sealed copy still in .saving:', resume.is_complete(b/'.saving'/'checkpoint-20'))
