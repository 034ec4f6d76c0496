"""Makes the Python stubs of the API from proto/, once per version of it, and puts them on the path.

Import this before anything of `runmesh`. The stubs lie in a cache folder, never in the checkout.
"""

import hashlib
import os
import sys
import tempfile
from pathlib import Path

PROTO = Path(os.environ.get("RUNMESH_PROTO", Path(__file__).resolve().parents[2] / "proto"))


def _folder(files: list[Path]) -> Path:
    """A folder that is another one as soon as any file is another one."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(str(file.relative_to(PROTO)).encode() + b"\0" + file.read_bytes())
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "runmesh-examples" / f"python-stubs-{digest.hexdigest()[:16]}"


def _generate(files: list[Path], target: Path) -> None:
    """Beside its place first, then moved there: two examples may start at once."""
    import grpc_tools
    from grpc_tools import protoc

    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = tempfile.mkdtemp(prefix=".stubs-", dir=target.parent)
    well_known = Path(grpc_tools.__file__).parent / "_proto"
    arguments = ["protoc", f"-I{PROTO}", f"-I{well_known}", f"--python_out={fresh}", f"--grpc_python_out={fresh}"]
    if protoc.main(arguments + [str(file) for file in files]) != 0:
        raise SystemExit("the stubs could not be generated")
    try:
        os.rename(fresh, target)
    except OSError:
        if not target.is_dir():
            raise


_files = sorted(PROTO.glob("runmesh/**/*.proto"))
if not _files:
    raise SystemExit(f"no .proto files in {PROTO}: name the folder in RUNMESH_PROTO")
_target = _folder(_files)
if not _target.is_dir():
    _generate(_files, _target)
sys.path.insert(0, str(_target))
