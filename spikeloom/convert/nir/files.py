"""NIR files, read and written."""

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING

from ... import hdf5
from ...errors import DataError, ExportError
from ...kept import regular
from .values import DAMAGED, first_line, package

if TYPE_CHECKING:
    import nir


def write_nir(graph: "nir.NIRGraph", path: Path | str) -> None:
    """Write a graph to a file, atomically.

    Raises:
        ExportError: the file cannot be written.
    """
    if not isinstance(graph, package().NIRGraph):
        raise ExportError(f"write_nir needs a NIRGraph, but got {type(graph).__name__}. Make one with to_nir(model).")
    path = Path(path)
    try:
        unfinished = regular(path).with_name(f".{path.name}.tmp")
    except OSError as error:
        raise ExportError(f"{path} cannot be written: {error.strerror}. Name a file.") from error
    buffer = io.BytesIO()
    package().write(buffer, graph)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with unfinished.open("wb") as stream:
            stream.write(buffer.getvalue())
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(unfinished, path)
    except OSError as error:
        if unfinished.is_file():
            unfinished.unlink()
        raise ExportError(f"{path} cannot be written: {error.strerror}. Choose another place.") from error


def read_nir(path: Path | str) -> "nir.NIRGraph":
    """Read a graph from a file, for `from_nir`.

    Raises:
        DataError: the file is missing, damaged, refers to data elsewhere, or holds no graph.
    """
    nir, path = package(), Path(path)
    if not path.is_file():
        raise DataError(f"There is no file {path}. Name a file that `spikeloom export` or another program wrote.")
    hdf5.check(path, str(path), "Export it again.")
    try:
        graph = nir.read(path, type_check=False)
    except DAMAGED as error:
        raise DataError(
            f"{path} should hold a NIR graph, but it is damaged or of another kind: {first_line(error)} "
            "Export it again."
        ) from error
    if not isinstance(graph, nir.NIRGraph):
        raise DataError(f"{path} should hold a NIR graph, but holds a {type(graph).__name__}. Put it into a graph.")
    return graph
