"""The environment that the demo and the tests run in. Standard library only: it runs before anything is installed.

Where no virtual environment is active, `.venv` in the project's root is made and used; in an active one, what is
missing is installed. A stamp in the environment says what was installed for which setup.cfg, so that it happens once.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
OLDEST = (3, 10)
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
CPU_TORCH = "torch==2.13.0+cpu"
ANY_TORCH = "torch>=2.4,<2.14"
_STAMP = "layered-atlas.json"


class SetupError(Exception):
    """The environment cannot be made; one line says what to do."""


def explain(text: str | None, *, takes_arguments: bool) -> None:
    """End with `text` where the command line asks for help, with status 2 where it says what is not understood.

    Before anything is made or installed: who asks what a command does has not asked for it to be done.
    """
    arguments = sys.argv[1:]
    if "-h" in arguments or "--help" in arguments:
        print((text or "").strip())
        sys.exit(0)
    if arguments and not takes_arguments:
        print(f"error: {arguments[0]} is not understood: {Path(sys.argv[0]).name} takes no options", file=sys.stderr)
        sys.exit(2)


def enter(*extras: str) -> None:
    """Return once this process runs in an environment with the project and its `extras` installed.

    Elsewhere the running script is started again inside such an environment, and this process ends with its status.
    """
    # torch's threads must sleep, not spin, while they wait: on a shared machine spinning made small steps up to 50x slower.
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    try:
        check_version(sys.version_info[:2])
        if not is_virtual():
            python = venv_python(VENV)
            if not _works(python):
                make_venv(VENV)
        else:
            python, there = Path(sys.executable), installed_extras(Path(sys.prefix))
            if there is not None and set(extras) <= there:
                return
            install(python, Path(sys.prefix), {*extras, *(there or ())})
    except SetupError as problem:
        print("error: " + str(problem), file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted: run the same command again to go on", file=sys.stderr)
        sys.exit(130)
    # Installed into a running Python, packages are not all found: start afresh.
    sys.exit(call([str(python), *sys.argv]))


def call(command: list[str], folder: Path | None = None) -> int:
    """Run a command, in `folder` where one is given; Ctrl-C ends it, not us. Returns its exit status."""
    process = subprocess.Popen(command, cwd=folder)
    while True:
        try:
            status = process.wait()
        except KeyboardInterrupt:
            continue  # the child had it too and ends by itself
        return 128 - status if status < 0 else status


def check_version(version: tuple[int, ...]) -> None:
    """SetupError where this Python is too old."""
    if tuple(version) < OLDEST:
        oldest, running = (".".join(map(str, v)) for v in (OLDEST, version))
        raise SetupError(
            f"Python {oldest} or newer is needed, this is {running} ({sys.executable}): run this with a newer Python"
        )


def is_virtual() -> bool:
    """Whether the running Python belongs to a virtual environment (venv, virtualenv, or a conda one that is not `base`)."""
    conda = os.environ.get("CONDA_PREFIX") == sys.prefix and os.environ.get("CONDA_DEFAULT_ENV", "base") != "base"
    return sys.prefix != sys.base_prefix or conda


def venv_python(folder: Path) -> Path:
    """The Python of a virtual environment, on this system."""
    return folder / "Scripts" / "python.exe" if os.name == "nt" else folder / "bin" / "python"


def _works(python: Path) -> bool:
    """Whether it starts and has pip: an environment whose making was cut short has not."""
    try:
        return subprocess.run([str(python), "-m", "pip", "--version"], capture_output=True).returncode == 0
    except OSError:
        return False


def make_venv(folder: Path) -> None:
    """Make (or make anew) a virtual environment; SetupError where this Python cannot."""
    _say(f"making a virtual environment in {folder}")
    made = subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], capture_output=True, text=True)
    if made.returncode != 0 or not _works(venv_python(folder)):
        reason = " ".join((made.stderr or made.stdout).split())[:200]
        raise SetupError(
            f"{sys.executable} cannot make a virtual environment in {folder} ({reason or 'no pip in it'}): "
            "install its venv module (Debian, Ubuntu: apt install python3-venv) or activate an environment of your own"
        )


def requirements_digest() -> str:
    """What the stamp compares: the declared requirements, and where the project stands (the install points there)."""
    text = (ROOT / "setup.cfg").read_bytes() + (ROOT / "pyproject.toml").read_bytes() + os.fsencode(ROOT)
    return hashlib.sha256(text).hexdigest()


def installed_extras(prefix: Path) -> set[str] | None:
    """The extras installed in an environment; None where the project is not, or for other requirements than today's."""
    try:
        stamp = json.loads((prefix / _STAMP).read_text(encoding="utf-8"))
        return set(stamp["extras"]) if stamp["requirements"] == requirements_digest() else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def install(python: Path, prefix: Path, extras: set[str]) -> None:
    """Install the project with `extras` into the environment, a CPU torch first where there is no NVIDIA GPU."""
    _say("installing what the project needs (a few minutes, once)")
    has_torch = subprocess.run([str(python), "-c", "import torch"], capture_output=True).returncode == 0
    if not has_torch and wants_cpu_torch(sys.platform, shutil.which("nvidia-smi") is not None):
        _install_cpu_torch(python)
    target = str(ROOT) + (f"[{','.join(sorted(extras))}]" if extras else "")
    if _pip(python, ["--editable", target]) != 0:
        raise SetupError("pip could not install what the project needs (its reasons stand above): mend that and run this again")
    stamp = {"requirements": requirements_digest(), "extras": sorted(extras)}
    (prefix / _STAMP).write_text(json.dumps(stamp), encoding="utf-8")


def wants_cpu_torch(platform: str, has_gpu: bool) -> bool:
    """Only Linux's ordinary torch brings CUDA along (several GB); elsewhere it is small already."""
    return platform.startswith("linux") and not has_gpu


def _install_cpu_torch(python: Path) -> None:
    """PyTorch's own index has CPU builds; where it is out of reach a local wheel may do; else pip's default follows."""
    index = ["--extra-index-url", CPU_INDEX] if _reachable(CPU_INDEX + "/torch/") else []
    for wanted in (CPU_TORCH, ANY_TORCH):
        if _pip(python, [*index, wanted], quiet=True) == 0:
            return


def _reachable(address: str) -> bool:
    # Asked first, as pip itself would try such an index five times, minutes each where a firewall swallows packets.
    try:
        with urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=8):
            return True
    except (OSError, ValueError):
        return False


def _pip(python: Path, arguments: list[str], *, quiet: bool = False) -> int:
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments]
    return subprocess.run(command, cwd=ROOT, stderr=subprocess.DEVNULL if quiet else None).returncode


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
