"""The example notebook runs from top to bottom, and is kept without outputs."""

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = ROOT / "examples" / "quickstart.ipynb"


def test_outputs_are_stripped():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert all(not cell.outputs and cell.execution_count is None for cell in notebook.cells if cell.cell_type == "code")


@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("default")  # those of the notebook's machinery are not ours
def test_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = {cell.id: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}
    shown = {name: set().union(*(output.get("data", {}) for output in made)) for name, made in outputs.items()}
    assert "text/html" in shown["captures"] and "text/html" in shown["learn"]
    assert "image/png" in shown["aligned"] and "image/png" in shown["overlay"]
    assert "of 6 captures accepted" in outputs["learn"][-1].data["text/plain"]
    assert (tmp_path / "runs/quickstart/run/report.html").is_file()
