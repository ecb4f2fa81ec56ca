"""Is this machine ready? GPU, libraries, 4 bits, disk, terminal, hub and embedding, each with a way out.

Every check is tried for real where that is cheap: layers are quantised, files renamed and linked.
"""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import sys
import uuid
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

from ftstudio.core.errors import StudioError
from ftstudio.core.owner import exclusive
from ftstudio.core.text import one_line, size
from ftstudio.core.workspace import Workspace

LIBRARIES = ("torch", "transformers", "peft", "bitsandbytes", "accelerate", "tokenizers", "datasets", "textual")
LEAST_DISK = 2 << 30  # bytes: under this a checkpoint of a small model already fills the disk
SMALL = (80, 24)
NETWORK = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "lustre", "gpfs", "beegfs", "ceph", "fuse.sshfs", "9p", "afs")

Check = dict[str, str]


def doctor(workspace: Workspace | None = None) -> dict[str, Any]:
    """`{checks: [{name, status, text, hint}]}`; status is ok, warning or error. Imports torch: it takes seconds."""
    from ftstudio.engine import quiet

    place = workspace or Workspace()
    with contextlib.suppress(Exception):  # what is missing is told by its own check
        quiet.libraries()
    checks: list[Callable[[], Check | list[Check]]] = [
        python,
        libraries,
        gpu,
        four_bits,
        memory,
        lambda: disk(place.path),
        lambda: writing(place.path),
        terminal,
        hub,
        embedding,
    ]
    found: list[Check] = []
    for check in checks:
        try:
            result = check()
        except Exception as error:  # a check that breaks is a finding too
            name = getattr(check, "__name__", "check").replace("_", " ").strip("<>")
            result = _check(name, "error", f"the check failed: {type(error).__name__}: {one_line(error, 150)}")
        found += result if isinstance(result, list) else [result]
    return {"checks": found}


def _check(name: str, status: str, text: str, hint: str = "") -> Check:
    return {"name": name, "status": status, "text": text, "hint": hint}


def python() -> Check:
    """The Python that runs this."""
    text = f"{platform.python_version()} in {sys.prefix}"
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        return _check("python", "error", text, "ftstudio needs Python 3.11 to 3.13.")
    return _check("python", "ok", text)


def required() -> dict[str, str]:
    """The version ranges that this ftstudio was installed with, by library."""
    from packaging.requirements import Requirement

    found = {}
    with contextlib.suppress(metadata.PackageNotFoundError):
        for line in metadata.requires("ftstudio") or []:
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                found[requirement.name.lower()] = str(requirement.specifier)
    return found


def libraries() -> list[Check]:
    """Which versions there are, against the ranges ftstudio asks for."""
    from packaging.specifiers import SpecifierSet

    ranges = required()
    found = []
    for name in LIBRARIES:
        wanted = ranges.get(name, "")
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            found.append(_check(name, "error", "not installed", f"pip install '{name}{wanted}'"))
            continue
        if wanted and not SpecifierSet(wanted).contains(version, prereleases=True):
            found.append(_check(name, "warning", f"{version}, tested with {wanted}", f"pip install '{name}{wanted}'"))
        else:
            found.append(_check(name, "ok", version))
    return found


def gpu() -> list[Check]:
    """Driver, cards, and whether torch can use them."""
    from ftstudio.engine.compatibility import gpu_present
    from ftstudio.engine.telemetry import Telemetry

    telemetry = Telemetry()
    driver, cards = telemetry.driver(), telemetry.read()["gpus"]
    telemetry.close()
    import torch

    there = torch.cuda.is_available()
    if not cards and not there:
        if gpu_present():
            text = "a GPU's device files are here, but its driver doesn't answer"
            return [
                _check("gpu", "warning", text, "Is the driver installed and does the container pass the GPU through?")
            ]
        return [_check("gpu", "ok", "none: training runs on the CPU", "Good for tiny models; bring a GPU for others.")]
    found = [
        _check("gpu", "ok", f"{card['name']}, {size(card['memory_total'])}, {size(card['memory_used'])} in use")
        for card in cards
    ]
    if driver:
        found.append(_check("gpu driver", "ok", driver))
    if not there:
        why = "is built without CUDA" if torch.version.cuda is None and torch.version.hip is None else "sees no GPU"
        hint = "Install torch's CUDA build, or a newer driver."
        found.append(_check("torch and gpu", "error", f"torch {torch.__version__} {why}", hint))
        return found
    name = torch.cuda.get_device_name(0)
    bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    text = f"torch computes on {name}, CUDA {torch.version.cuda or torch.version.hip}"
    try:
        value = torch.ones(64, 64, device="cuda")
        good = bool((value @ value == 64).all())
    except RuntimeError as error:
        hint = "This torch may be too old or too new for the card: install another build."
        found.append(_check("torch and gpu", "error", f"{text}, but it fails: {one_line(error, 120)}", hint))
        return found
    found.append(
        _check(
            "torch and gpu", "ok" if good else "error", text, "" if good else "The GPU computes wrongly: ask its owner."
        )
    )
    if not bf16:
        text = "no bf16: training uses fp16"
        found.append(_check("bf16", "warning", text, "Gradients may overflow; the studio skips such steps."))
    return found


def four_bits() -> Check:
    """Quantise a layer to NF4 and let a gradient through it, as QLoRA does."""
    import torch

    try:
        import bitsandbytes as bnb
    except Exception as error:  # its native library may not load
        hint = "Reinstall bitsandbytes; without it use method lora."
        return _check("4 bits (qlora)", "error", f"bitsandbytes doesn't load: {one_line(error, 120)}", hint)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(64, 128, generator=generator)
    try:
        layer = bnb.nn.Linear4bit(
            128, 64, bias=False, compute_dtype=torch.float32, compress_statistics=True, quant_type="nf4"
        )
        layer.weight = bnb.nn.Params4bit(
            weight.clone(), requires_grad=False, quant_type="nf4", compress_statistics=True, module=layer
        )
        layer = layer.to(device)
        rows = torch.randn(8, 128, generator=generator).to(device).requires_grad_(True)
        result = layer(rows)
        result.sum().backward()
        exact = rows.detach() @ weight.to(device).T
        off = float((result.detach() - exact).norm() / exact.norm())
        trained = rows.grad is not None and bool(rows.grad.isfinite().all())
    except Exception as problem:
        hint = "Use method lora, or install another bitsandbytes."
        return _check("4 bits (qlora)", "error", f"NF4 fails on {device}: {one_line(problem, 150)}", hint)
    # NF4 of normally spread weights is off by about 9 % (Dettmers et al. 2023 quantise in blocks of 64)
    if not trained or not off < 0.2:
        hint = "Use method lora, or install another bitsandbytes."
        return _check(
            "4 bits (qlora)", "error", f"NF4 on {device} gives wrong numbers (off by {100 * off:.0f} %)", hint
        )
    return _check(
        "4 bits (qlora)",
        "ok",
        f"NF4 with double quantisation works on {device} (off by {100 * off:.0f} %, as it should be)",
    )


def memory() -> Check:
    """Main memory and cores."""
    import psutil

    from ftstudio.engine.hardware import cores

    value = psutil.virtual_memory()
    text = f"{size(value.available)} of {size(value.total)} free, {cores()} cores"
    if value.available < 2 << 30:
        return _check("memory", "warning", text, "Under 2 GiB is little: close other programs.")
    return _check("memory", "ok", text)


def _existing(path: Path) -> Path:
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def disk(path: Path) -> Check:
    """Room where the workspace is, and what kind of disk it is."""
    free = shutil.disk_usage(_existing(path)).free
    kind = file_system(path)
    text = f"{size(free)} free in {path}" + (f" ({kind})" if kind else "")
    if free < LEAST_DISK:
        return _check("disk", "warning", text, "Free some space, or choose another --workspace: checkpoints need room.")
    if kind in NETWORK:
        hint = "Runs are safe there; a disk of this machine makes checkpoints faster."
        return _check("disk", "ok", f"{text}: a network disk", hint)
    return _check("disk", "ok", text)


def file_system(path: Path, mounts: str = "/proc/mounts") -> str | None:
    """The kind of file system that PATH lies on; None where the system doesn't tell."""
    best, kind = "", None
    wanted = str(_existing(path).resolve())
    try:
        lines = Path(mounts).read_text("utf-8", "replace").splitlines()
    except OSError:
        return None
    for line in lines:
        fields = line.split()
        if len(fields) < 3:
            continue
        mount = fields[1].replace("\\040", " ")
        inside = wanted == mount or wanted.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= len(best):
            best, kind = mount, fields[2]
    return kind


def writing(path: Path) -> Check:
    """Write, append, replace and claim in the workspace, as runs do."""
    folder = _existing(path)
    stem = folder / f".ftstudio-{uuid.uuid4().hex}"
    one, two, three = (stem.with_name(f"{stem.name}.{number}") for number in (1, 2, 3))
    try:
        one.write_bytes(b"one\n")
        with open(one, "ab") as file:
            file.write(b"two\n")
            file.flush()
            os.fsync(file.fileno())
        two.write_bytes(b"old")
        os.replace(one, two)
        if two.read_bytes() != b"one\ntwo\n" or one.exists():
            return _check("workspace", "error", f"{folder} loses what is written", "Choose another --workspace.")
        exclusive(two, three)  # as a run takes its folder
        with contextlib.suppress(FileExistsError):
            exclusive(two, three)
            return _check("workspace", "error", f"{folder} gives one name to two files", "Choose another --workspace.")
    except OSError as error:
        from ftstudio.core.files import explain

        told = explain(error, folder)
        return _check("workspace", "error", told.message, told.hint or "Choose another --workspace.")
    finally:
        for file_path in (one, two, three):
            with contextlib.suppress(OSError):
                file_path.unlink(missing_ok=True)
    return _check("workspace", "ok", f"files are written, replaced and claimed in {folder}")


def terminal() -> Check:
    """Whether the studio can be shown here, and how."""
    kind = os.environ.get("TERM", "")
    if (not sys.stdout.isatty() and not sys.stderr.isatty()) or not sys.stdin.isatty():
        hint = "The commands work without one, such as `ftstudio train` and `ftstudio compare`."
        return _check("terminal", "ok", "none here: the studio's screens need one", hint)
    if kind in ("", "dumb", "unknown"):
        return _check("terminal", "error", f"TERM={kind or 'unset'} can't be drawn on", "Set TERM=xterm-256color.")
    columns, rows = shutil.get_terminal_size((0, 0))
    colours = "true colour" if os.environ.get("COLORTERM", "") in ("truecolor", "24bit") else (
        "256 colours" if "256" in kind else "16 colours"
    )  # fmt: skip
    if os.environ.get("NO_COLOR"):
        colours = "no colours (NO_COLOR)"
    encoding = (getattr(sys.stdout, "encoding", "") or "").lower().replace("-", "")
    text = f"{kind}, {columns}×{rows}, {colours}"
    if encoding not in ("utf8", "utf_8"):
        return _check("terminal", "warning", f"{text}, but no UTF-8", "Set LANG=C.UTF-8 before starting.")
    if columns and (columns < SMALL[0] or rows < SMALL[1]):
        return _check("terminal", "warning", text, f"The screens are made for {SMALL[0]}×{SMALL[1]} and up.")
    return _check("terminal", "ok", text)


def hub() -> Check:
    """Whether models and datasets can be fetched, and where they are kept. Asks no network."""
    from huggingface_hub import constants, get_token

    cache = Path(constants.HF_HUB_CACHE)
    text = f"cache in {cache}"
    count = len(list(cache.glob("models--*"))) if cache.is_dir() else 0
    text += f", {count} models" if count else ", empty"
    if constants.HF_HUB_OFFLINE:
        return _check("hub", "ok", f"{text}; switched off (HF_HUB_OFFLINE)", "Folders and `demo` need no hub.")
    if not os.access(_existing(cache), os.W_OK):
        return _check("hub", "warning", f"{text}, not writable", "Set HF_HOME to a folder of yours.")
    return _check("hub", "ok", text + ("; logged in" if get_token() else "; not logged in"))


def embedding() -> Check:
    """Which embedding measures similarity here."""
    from ftstudio.evaluation.similarity import load_embedder, minilm_folder

    try:
        embedder = load_embedder("auto")
        embedder.encode(["ready"])
    except StudioError as error:
        return _check("similarity", "error", error.message, error.hint)
    hint = "" if minilm_folder() else "pip install 'ftstudio[minilm]' adds MiniLM, which works offline too."
    return _check("similarity", "ok", embedder.signature.split("|")[0], hint)
