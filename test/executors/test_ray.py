"""Ray tasks: same results, clear errors, nothing left behind."""

import os
import subprocess
import sys
import textwrap

import calls
import psutil
import pytest
import torch

from uop3d_core.executors import load_executor
from uop3d_core.executors.serial import SerialExecutor

pytest.importorskip("ray", reason="Ray is not installed: pip install 'uop3d[ray]'")
pytestmark = pytest.mark.filterwarnings("default")

NUMBERS = {f"n{i}": i for i in range(6)}


@pytest.fixture(scope="module")
def ray_here():
    with load_executor("ray:local", 2) as executor:
        yield executor
    assert not [p for p in psutil.Process().children(recursive=True) if "ray" in p.name()]


def test_results_by_name(ray_here):
    assert ray_here.workers == 2
    assert dict(ray_here.map(calls.scaled, {"factor": 3}, NUMBERS)) == {f"n{i}": 3 * i for i in range(6)}


def test_same_bits_as_in_this_process(ray_here):
    torch.manual_seed(0)
    shared = {name: torch.randn(257, 257) for name in "abc"}
    items = {"a+b": "ab", "a+c": "ac", "b+c": "bc"}
    here = dict(SerialExecutor().map(calls.product, shared, items))
    there = dict(ray_here.map(calls.product, shared, items))
    assert here == there
    assert {threads for _, _, threads in there.values()} == {1}


def test_error_of_a_call(ray_here):
    with pytest.raises(ValueError, match="two is wrong") as caught:
        list(ray_here.map(calls.fails, {}, NUMBERS))
    assert "at n2" in str(caught.value.__cause__)


def test_death_of_a_worker_names_the_item(ray_here):
    with pytest.raises(ChildProcessError, match="lost while it worked on n2"):
        list(ray_here.map(calls.dies, {}, NUMBERS))


def test_other_processes_work(ray_here):
    assert os.getpid() not in dict(ray_here.map(calls.who, {}, NUMBERS)).values()


def test_connection_of_the_program_is_left_open(ray_here):
    import ray

    with load_executor("ray") as second:
        assert dict(second.map(calls.scaled, {"factor": 2}, {"a": 4})) == {"a": 8}
    assert ray.is_initialized()


def test_cluster_that_runs_already(ray_here):
    """By its address, from another program."""
    import ray

    code = f"""
        import operator
        from uop3d_core.executors import load_executor
        with load_executor("ray:{ray.get_runtime_context().gcs_address}") as executor:
            print(executor.workers, dict(executor.map(operator.getitem, {{"x": 5}}, {{"call": "x"}})))
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "2 {'call': 5}"


def test_two_nodes():
    """What is shared reaches every node of a cluster."""
    code = """
        import calls, torch
        from ray.cluster_utils import Cluster
        from uop3d_core.executors import load_executor
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        cluster.add_node(num_cpus=1)
        shared = {f"n{i}": torch.full((1000, 1000), float(i)) for i in range(12)}
        with load_executor(f"ray:{cluster.address}") as executor:
            nodes = dict(executor.map(calls.which_node, shared, {name: (name, "n0") for name in shared}))
            print(executor.workers, len(nodes), len(set(nodes.values())))
        cluster.shutdown()
    """
    environment = {**os.environ, "PYTHONPATH": os.path.dirname(calls.__file__)}
    command = [sys.executable, "-c", textwrap.dedent(code)]
    result = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert result.stdout.splitlines()[-1] == "2 12 2"


def test_no_cluster_there():
    code = "from uop3d_core.executors import load_executor\nload_executor('ray:127.0.0.1:1')"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "ConnectionError: no Ray cluster answers at 127.0.0.1:1" in result.stderr
