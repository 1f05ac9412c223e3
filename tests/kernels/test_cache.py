"""What was compiled is found by the next process, and nothing that is damaged or foreign is ever run.

The faults are real ones, of whole processes: files that are cut or changed, a limit on the size of files in place of a
full disk, another user.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest

import spikeloom

PACKAGE = Path(spikeloom.__file__).parent
SCRIPT = """
import sys, torch
from spikeloom.neurons import LIF
torch.manual_seed(0)
xs = (3 * torch.rand(5, 2, 3)).requires_grad_()
LIF(2.0)(xs)[0].sum().backward()
module = next(m for name, m in sys.modules.items() if name.startswith("spikeloom_lif_"))
print("sympy" in sys.modules and "spikeloom.kernels.derive.symbols" in sys.modules)
print(*(sum(f.stats.cache_hits.values()) for f in (module.forward, module.backward)))
print(*(sum(f.stats.cache_misses.values()) for f in (module.forward, module.backward)))
print(xs.grad.double().sum().item())
"""
LIMITED = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
"""
OTHER = """
import os, llvmlite, numba, sympy, torch
import spikeloom.kernels.engines.operators, spikeloom.kernels.derive.symbols, spikeloom.neurons
os.setresuid(65534, 65534, 65534)
"""
NEW, KNOWN = ["True", "0 0", "1 1"], ["False", "1 1", "0 0"]


def start(environment: Mapping[str, str | None], script: str = SCRIPT) -> subprocess.Popen[str]:
    whole = os.environ | {"PYTHONPATH": str(PACKAGE.parent), "PYTHONDONTWRITEBYTECODE": "1"} | {**environment}
    kept = {name: value for name, value in whole.items() if value is not None}
    return subprocess.Popen(
        [sys.executable, "-c", script], env=kept, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def run(environment: Mapping[str, str | None], script: str = SCRIPT) -> tuple[list[str], str]:
    """What a process prints, and its warnings."""
    out, errors = start(environment, script).communicate()
    assert out, errors
    return out.splitlines(), errors


def kernels(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A cache that a process filled, and what this process printed."""
    folder = tmp_path_factory.mktemp("filled")
    before = kernels(PACKAGE)
    out, errors = run({"SPIKELOOM_CACHE": str(folder)})
    assert errors == ""
    assert kernels(PACKAGE) == before  # nothing lies beside the sources, which may be another user's
    return folder, out


def copy(folder: Path, to: Path) -> Path:
    subprocess.run(["cp", "-a", folder, to], check=True)
    return to


def test_a_second_process_hits_the_cache(filled: tuple[Path, list[str]]) -> None:
    folder, first = filled
    written = kernels(folder)
    assert first[:3] == NEW
    assert len([path for path in written if path.suffix == ".py"]) == 1
    again, errors = run({"SPIKELOOM_CACHE": str(folder)})
    assert again[:3] == KNOWN
    assert again[3] == first[3]
    assert errors == ""
    assert kernels(folder) == written


def test_kernels_have_the_usual_modes(filled: tuple[Path, list[str]]) -> None:
    mask = os.umask(0)
    os.umask(mask)
    assert {path.stat().st_mode & 0o777 for path in kernels(filled[0])} == {0o666 & ~mask}


def test_damaged_files_are_made_again_once(filled: tuple[Path, list[str]], tmp_path: Path) -> None:
    folder, first = copy(filled[0], tmp_path / "cache"), filled[1]
    (module,) = folder.rglob("*.py")
    code = sorted(folder.rglob("*.nbc"))
    module.write_bytes(b"")  # a power cut
    code[0].write_bytes(b"")
    for path in code[1:]:
        content = bytearray(path.read_bytes())
        content[-1000] ^= 1
        path.write_bytes(content)
    again, errors = run({"SPIKELOOM_CACHE": str(folder)})
    assert again == first
    assert "Traceback" not in errors
    assert f"{module} is damaged: its content does not agree with its digest. It is made again." in errors
    third, errors = run({"SPIKELOOM_CACHE": str(folder)})
    assert third[:3] == KNOWN
    assert third[3] == first[3]
    assert errors == ""


@pytest.mark.slow
def test_one_character_of_the_source_or_a_swapped_file_is_noticed(
    filled: tuple[Path, list[str]], tmp_path: Path
) -> None:
    folder, first = copy(filled[0], tmp_path / "cache"), filled[1]
    (module,) = folder.rglob("*.py")
    text = module.read_text()
    assert "ONE - p_decay_mem" in text or "F(1.0) - decay_mem" in text
    module.write_text(text.replace("F(1.0) - decay_mem", "F(2.0) - decay_mem"))
    forward, backward = sorted(path for path in folder.rglob("*.nbc") if "ward-" in path.name)[::-1]
    forward.write_bytes(backward.read_bytes())  # whole, but of another function
    again, errors = run({"SPIKELOOM_CACHE": str(folder)})
    assert again[3] == first[3]
    assert errors.count("It is made again.") == 2


def test_a_full_disk_is_one_warning(tmp_path: Path, filled: tuple[Path, list[str]]) -> None:
    out, errors = run({"SPIKELOOM_CACHE": str(tmp_path / "cache")}, LIMITED + SCRIPT)
    assert out == filled[1]
    assert "Traceback" not in errors
    assert errors.count("Warning") == 1
    assert (
        f"cannot keep compiled kernels in {tmp_path / 'cache' / 'kernels'}: File too large. Set SPIKELOOM_CACHE"
        in errors
    )
    assert kernels(tmp_path) == {}  # no halves of files


@pytest.mark.slow
def test_a_folder_that_cannot_be_made_is_one_warning(tmp_path: Path, filled: tuple[Path, list[str]]) -> None:
    (tmp_path / "file").write_text("not a folder")
    out, errors = run({"SPIKELOOM_CACHE": str(tmp_path / "file" / "below")})
    assert out == filled[1]
    assert errors.count("Warning") == 1
    assert "Not a directory. Set SPIKELOOM_CACHE to a folder you can write to; until then every process" in errors


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
def test_another_user_reads_the_cache_and_cannot_write_it(filled: tuple[Path, list[str]]) -> None:
    with tempfile.TemporaryDirectory() as shared:  # below a folder that all may read, unlike tmp_path
        Path(shared).chmod(0o755)
        folder = copy(filled[0], Path(shared) / "cache")
        folder.chmod(0o755)
        written, environment = kernels(folder), {"SPIKELOOM_CACHE": str(folder)}
        again, errors = run(environment, OTHER + SCRIPT)
        assert again[1:] == [*KNOWN[1:], filled[1][3]]
        assert errors == ""
        wider = SCRIPT.replace("torch.rand(5, 2, 3)", "torch.rand(5, 2, 3).double()")
        again, errors = run(environment, OTHER + wider)
        assert again[1:3] == NEW[1:]
        assert errors.count("Warning") == 1
        assert "Permission denied. Set SPIKELOOM_CACHE to a folder you can write to" in errors
        assert kernels(folder) == written


@pytest.mark.slow
def test_code_of_others_is_not_run(tmp_path: Path, filled: tuple[Path, list[str]]) -> None:
    planted = copy(filled[0], tmp_path / "spikeloom")
    (planted / "kernels").chmod(0o777)
    out, errors = run({"SPIKELOOM_CACHE": None, "XDG_CACHE_HOME": str(tmp_path)})
    assert out == filled[1]
    assert errors.count("Warning") == 1
    assert f"code in {planted / 'kernels'} is not run, because everyone may write to it. Change its owner" in errors


@pytest.mark.slow
def test_two_processes_at_once(tmp_path: Path, filled: tuple[Path, list[str]]) -> None:
    both = [start({"SPIKELOOM_CACHE": str(tmp_path)}) for _ in range(2)]
    for process in both:
        out, errors = process.communicate()
        assert errors == ""
        assert out.splitlines()[3] == filled[1][3]
    assert {path.suffix for path in kernels(tmp_path)} == {".py", ".nbc"}
    assert run({"SPIKELOOM_CACHE": str(tmp_path)})[0][:3] == KNOWN


@pytest.mark.slow
def test_switches_of_numba_that_change_code_have_code_of_their_own(filled: tuple[Path, list[str]]) -> None:
    out, errors = run({"SPIKELOOM_CACHE": str(filled[0]), "NUMBA_BOUNDSCHECK": "1"})
    assert out[1:3] == ["0 0", "1 1"]
    assert out[3] == filled[1][3]
    assert errors == ""
