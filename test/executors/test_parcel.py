"""Objects come out of a parcel as they went in, and their arrays lie in its file."""

import pickle

import numpy as np
import pytest
import torch

from uop3d_core.executors.parcel import Parcel, dumps


@pytest.fixture
def parcel(tmp_path):
    with Parcel(tmp_path) as parcel:
        parcel.add("a", {"array": np.arange(7.0), "tensor": torch.eye(3), "flags": torch.tensor([True, False]), "n": 3})
        parcel.add("b", torch.arange(24).reshape(2, 3, 4).transpose(0, 2))
        yield parcel


def same(left, right):
    a, b = left["a"], right["a"]
    assert (a["array"] == b["array"]).all() and torch.equal(a["tensor"], b["tensor"]) and a["n"] == b["n"]
    assert torch.equal(a["flags"], b["flags"]) and torch.equal(left["b"], right["b"])


def test_round_trip(parcel):
    assert list(parcel) == ["a", "b"] and len(parcel) == 2
    assert torch.equal(parcel["b"], torch.arange(24).reshape(2, 3, 4).transpose(0, 2))
    assert torch.equal(parcel["a"]["tensor"], torch.eye(3)) and parcel["a"]["flags"].dtype == torch.bool
    with pytest.raises(KeyError):
        parcel["c"]


def test_sent_elsewhere_it_opens_the_same_file(parcel):
    copy = pickle.loads(pickle.dumps(parcel))
    assert copy.path == parcel.path
    same(copy, parcel)


def test_arrays_are_aligned_and_not_copied(parcel):
    array = parcel["a"]["array"]
    assert array.ctypes.data % 64 == 0 and not array.flags.owndata
    array[0] = 5
    assert pickle.loads(pickle.dumps(parcel))["a"]["array"][0] == 0, "changes stay with the process"


def test_file_goes_but_objects_stay(parcel):
    tensor = parcel["a"]["tensor"]
    parcel.close()
    assert not parcel.path.exists() and torch.equal(tensor, torch.eye(3))


def test_empty_parcel_can_be_sent():
    with Parcel() as parcel:
        assert len(pickle.loads(pickle.dumps(parcel))) == 0


def test_dumps_takes_tensors():
    assert torch.equal(pickle.loads(dumps([torch.eye(2)]))[0], torch.eye(2))
