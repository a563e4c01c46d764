"""Folders and hubs as shelves: a hub on this machine stands for the one on the network."""

import socket

import pytest
from fake_hub import fake_hub

from uop3d_core.sharing.shelves import FolderShelf, HubShelf, shelf_at

pytest.importorskip("huggingface_hub", reason="the extra hub is not installed")


@pytest.fixture
def hub(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    with fake_hub() as hub:
        yield hub


@pytest.fixture
def files(tmp_path):
    folder = tmp_path / "given"
    folder.mkdir()
    for name, content in (("model.safetensors", b"\0\xff" * 500), ("README.md", b"# card\n"), ("SHA256SUMS", b"ab")):
        (folder / name).write_bytes(content)
    return {path.name: path for path in folder.iterdir()}


def test_a_folder_gives_back_what_it_got(tmp_path, files):
    shelf = shelf_at(str(tmp_path / "shelf"))
    assert isinstance(shelf, FolderShelf) and shelf.put(files, "first") == str(tmp_path / "shelf")
    shelf.get("model.safetensors", 1000, tmp_path / "got")
    assert (tmp_path / "got").read_bytes() == b"\0\xff" * 500
    assert sorted(path.name for path in (tmp_path / "shelf").iterdir()) == sorted(files)
    with pytest.raises(ValueError, match="more than the 999"):
        shelf.get("model.safetensors", 999, tmp_path / "got")
    with pytest.raises(FileNotFoundError, match="no such file"):
        shelf.get("other", 1000, tmp_path / "got")
    with pytest.raises(FileNotFoundError, match="no such folder"):
        shelf_at(str(tmp_path / "none")).get("x", 1, tmp_path / "got")
    (tmp_path / "shelf" / "link").symlink_to("/etc/hostname")
    with pytest.raises(FileNotFoundError):
        shelf.get("link", 10_000, tmp_path / "got")


def test_a_hub_gives_back_what_it_got(tmp_path, files, hub):
    shelf = HubShelf("someone/mug", None, True, hub.endpoint)
    assert shelf.put(files, "uop3d model of mug").startswith(hub.endpoint)
    assert {name: data for name, data in hub.repositories["someone/mug"].items() if name in files} == {
        name: path.read_bytes() for name, path in files.items()
    }
    again = HubShelf("someone/mug", "main", False, hub.endpoint)
    for name, path in files.items():
        again.get(name, 1000, tmp_path / "got")
        assert (tmp_path / "got").read_bytes() == path.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["given", "got"]
    fetched = [path for method, path in hub.calls if method == "GET" and "resolve" in path]
    assert fetched and all(hub.commit_of("someone/mug") in path for path in fetched)  # all of one commit
    with pytest.raises(ValueError, match="more than the 10"):
        again.get("model.safetensors", 10, tmp_path / "got")
    with pytest.raises(FileNotFoundError, match="no file other"):
        again.get("other", 10, tmp_path / "got")


def test_what_a_hub_may_refuse(tmp_path, files, hub, monkeypatch):
    with pytest.raises(FileNotFoundError, match="no such repository, or it is private"):
        HubShelf("someone/none", None, False, hub.endpoint).get("x", 1, tmp_path / "got")
    hub.repositories["someone/mug"] = {}
    with pytest.raises(FileNotFoundError, match="no such revision"):
        HubShelf("someone/mug", "v9", False, hub.endpoint).get("x", 1, tmp_path / "got")
    with pytest.raises(ValueError, match="no revision to push to"):
        HubShelf("someone/mug", "v9", False, hub.endpoint).put(files, "m")
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(OSError, match="log in with"):
        HubShelf("someone/cup", None, False, hub.endpoint).put(files, "m")


def test_a_hub_that_cannot_be_reached(tmp_path, files):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{nobody.getsockname()[1]}"
    for call in (
        lambda shelf: shelf.get("model.safetensors", 10, tmp_path / "got"),
        lambda shelf: shelf.put(files, "m"),
    ):
        with pytest.raises(ConnectionError, match="cannot be reached.*take a folder instead"):
            call(HubShelf("someone/mug", None, False, endpoint))


@pytest.mark.parametrize("place", ["hf://mug", "hf://a/b/c", "hf://../mug", "https://x.org/mug", "hf://a/b@../c"])
def test_places_that_are_none(place):
    with pytest.raises(ValueError, match="hf://USER/NAME"):
        shelf_at(place)


def test_places_on_a_hub():
    shelf = shelf_at("hf://someone/mug@v1.0")
    assert isinstance(shelf, HubShelf) and shelf.where == "hf://someone/mug@v1.0"
