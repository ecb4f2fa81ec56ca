# (1) except-block keeps optimizer alive across rollback; (2) settle window; (3) fp16 clip raises
import gc, weakref
class T: pass
class Rolled(Exception): pass
def train(self):
    opt=self.opt; raise Rolled
class Tr:
    def __init__(s): s.opt=T(); s.me=s
    def train(s): o=s.opt; raise Rolled
t=Tr(); w=weakref.ref(t.opt)
while True:
    try:
        t.train()
    except Rolled:
        del t
        gc.collect()
        print('inside except after free(): optimiser alive', w() is not None)
        break
print('after except, before next gc:', w() is not None); gc.collect(); print('after gc', w() is not None)
