"""A merged model as a GGUF file, by llama.cpp's own converter: which architectures that knows is its business."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

from ftstudio.core.errors import StudioError
from ftstudio.core.text import one_line

CONVERTERS = ("convert_hf_to_gguf.py", "convert-hf-to-gguf.py")
PLACE = "LLAMA_CPP"  # the environment's name for the folder of llama.cpp


def converter() -> list[str] | None:
    """The command of llama.cpp's converter, from its folder or from the PATH; None where there is none."""
    folder = os.environ.get(PLACE)
    for name in CONVERTERS:
        if folder and (Path(folder).expanduser() / name).is_file():
            return [sys.executable, str(Path(folder).expanduser() / name)]
        found = shutil.which(name)
        if found:
            return [found]
    return None


def need_converter(name: str) -> list[str]:
    """`converter`. Raises StudioError where there is none, with what to do by hand for run NAME."""
    found = converter()
    if found is None:
        raise StudioError(
            f"GGUF files are made by llama.cpp's {CONVERTERS[0]}, which is neither on the PATH nor in ${PLACE}.",
            f"Set {PLACE} to llama.cpp's folder; or `ftstudio export {name} merged`, then `python {CONVERTERS[0]} "
            f"FOLDER --outfile {name}.gguf` where llama.cpp is.",
        )
    return found


def convert(command: list[str], model: Path, to: Path) -> int:
    """Convert the folder MODEL into the file TO by COMMAND: how many tensors it holds. Raises StudioError."""
    try:
        done = subprocess.run(
            [*command, str(model), "--outfile", str(to), "--outtype", "auto"], capture_output=True, text=True,
            check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except OSError as error:
        raise StudioError(f"llama.cpp's converter can't be run ({one_line(error, 120)}).", "Is it whole?") from error
    said = [line for line in done.stderr.splitlines() if line.strip()]
    if done.returncode:
        raise StudioError(
            f"llama.cpp's converter failed: {one_line(said[-1] if said else 'it said nothing', 200)}.",
            "It may not know this architecture; `ftstudio export RUN merged` gives it as safetensors.",
        )
    return tensors(to)


def tensors(path: Path) -> int:
    """How many tensors the GGUF file PATH names in its header. Raises StudioError for what is no GGUF file."""
    try:
        with open(path, "rb") as file:
            magic, _, count, _ = struct.unpack("<4sIQQ", file.read(24))
    except (OSError, struct.error) as error:
        raise StudioError("llama.cpp's converter wrote no whole file.", "Try it by hand.") from error
    if magic != b"GGUF" or not count:
        raise StudioError("What llama.cpp's converter wrote is no GGUF file.", "Try it by hand.")
    return int(count)
