# fake-memory estimate knows nothing of the fused head on cuda
import inspect
from ftstudio.engine import memory_fake, memory
print('fused' in inspect.getsource(memory_fake), 'fused' in inspect.getsource(memory))
