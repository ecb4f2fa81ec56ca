import os; os.environ['CUDA_VISIBLE_DEVICES']='3'
from ftstudio.engine import fit, telemetry
class F:
    class NVMLError(Exception): pass
import pynvml
class N:
    def nvmlInit(s): pass
    def nvmlShutdown(s): pass
    def nvmlDeviceGetCount(s): return 4
    def nvmlDeviceGetHandleByIndex(s,i): return i
    def nvmlDeviceGetName(s,h): return f'card{h}'
    NVML_TEMPERATURE_GPU=0
    def nvmlDeviceGetUtilizationRates(s,h):
        class U: gpu=100
        return U
    def nvmlDeviceGetMemoryInfo(s,h):
        class M: used=79<<30 if h==0 else 0; total=80<<30
        return M
    def nvmlDeviceGetTemperature(s,h,k): return 90
    def nvmlDeviceGetPowerUsage(s,h): return 1
    def nvmlDeviceGetCurrentClocksThrottleReasons(s,h): return 0x20 if h==0 else 0
T=telemetry.Telemetry
telemetry.Telemetry=lambda : T(N())
d=fit.devices('cuda'); print(d[0]['name'], d[0]['free']>>30, 'GiB free; gpus()', fit.gpus())
from ftstudio.engine.watchdog import Watchdog; from ftstudio.core.watch import Watch
print(Watchdog(Watch(gpu='pause')).machine(T(N()).read()))
from ftstudio.core.run import Story
s=Story(); s.feed([{"kind":"step","step":1,"loss":1.0},{"kind":"telemetry",**T(N()).read()}]); print('memory curve GiB', s.curves['memory'][0][1]/2**30)
