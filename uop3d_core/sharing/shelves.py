"""Where shared models are kept: folders, and repositories of the Hugging Face hub, behind one small contract.

In: a place as text, a path or ``hf://USER/NAME[@REVISION]``. Out: a `Shelf`. Whoever takes a file checks it.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from uop3d_core.atomic import replaced

HUB = "hf://"
REPOSITORY = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*)(?:@([A-Za-z0-9][A-Za-z0-9._/-]*))?")


class Shelf(Protocol):
    """A place with files.

    Attributes:
        where: what to call it.
    """

    where: str

    def put(self, files: Mapping[str, Path], message: str) -> str:
        """Add files by name, all at once as far as the place allows; what has the same name is replaced.

        Returns:
            where they are now, for people.
        """
        ...

    def get(self, name: str, most_bytes: int, out: Path) -> None:
        """Copy one file to `out`.

        Raises:
            FileNotFoundError: there is none of this name.
            ValueError: it is larger than `most_bytes`.
            OSError: the place cannot be reached.
        """
        ...


def shelf_at(place: str, *, private: bool = False, endpoint: str | None = None) -> Shelf:
    """The shelf that a text names.

    Args:
        place: a path, or ``hf://USER/NAME[@REVISION]``.
        private: whether a repository that is made is private.
        endpoint: address of the hub; by default the one that huggingface_hub is set to (``HF_ENDPOINT``).

    Raises:
        ValueError: no such form.
        ModuleNotFoundError: it is on a hub, and huggingface_hub is not installed.
    """
    if not place.startswith(HUB):
        if "://" in place:
            raise ValueError(f"{place}: a place for models is a folder or {HUB}USER/NAME, optionally with @REVISION")
        return FolderShelf(Path(place))
    match = REPOSITORY.fullmatch(place.removeprefix(HUB))
    if match is None:
        raise ValueError(f"{place}: a repository is written {HUB}USER/NAME, optionally with @REVISION")
    return HubShelf(match[1], match[2], private, endpoint)


class FolderShelf:
    """A folder."""

    def __init__(self, folder: Path) -> None:
        """Nothing is read or written yet."""
        self.folder, self.where = folder, str(folder)

    def put(self, files: Mapping[str, Path], message: str) -> str:
        """See Shelf; each file appears whole, in the order given."""
        if self.folder.exists() and not self.folder.is_dir():
            raise FileExistsError(f"{self.folder} is a file: give a folder")
        for name, path in files.items():
            with replaced(self.folder / name) as draft:
                shutil.copyfile(path, draft)
        return str(self.folder)

    def get(self, name: str, most_bytes: int, out: Path) -> None:
        """See Shelf; links are not followed."""
        path = self.folder / name
        if not self.folder.is_dir():
            raise FileNotFoundError(f"{self.folder}: no such folder")
        if path.is_symlink() or not path.is_file():
            raise FileNotFoundError(f"{path}: no such file")
        _check_size(f"{path}", path.stat().st_size, most_bytes)
        shutil.copyfile(path, out)


class HubShelf:
    """A model repository of a Hugging Face hub; the token is the one that ``hf auth login`` or HF_TOKEN set."""

    def __init__(self, repository: str, revision: str | None, private: bool, endpoint: str | None) -> None:
        """Nothing is asked yet."""
        try:
            import huggingface_hub
        except ImportError as error:
            raise ModuleNotFoundError(f"{HUB} needs huggingface_hub: pip install 'uop3d[hub]'") from error
        self._api: Any = huggingface_hub.HfApi(endpoint=endpoint)
        self._repository, self._revision, self._private = repository, revision, private
        self._sizes: dict[str, int | None] | None = None
        self.where = f"{HUB}{repository}" + (f"@{revision}" if revision else "")

    def put(self, files: Mapping[str, Path], message: str) -> str:
        """See Shelf; one commit."""
        if self._revision is not None:
            raise ValueError(f"{self.where}: give no revision to push to: a commit makes a new one")
        from huggingface_hub import CommitOperationAdd

        adding = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=str(path)) for name, path in files.items()]
        with self._errors():
            self._api.create_repo(self._repository, private=self._private, exist_ok=True)
            commit = self._api.create_commit(self._repository, adding, commit_message=message)
        return str(commit.commit_url)

    def get(self, name: str, most_bytes: int, out: Path) -> None:
        """See Shelf; all files come from one commit."""
        sizes = self._listing()
        if name not in sizes:
            raise FileNotFoundError(f"{self.where}: no file {name} in it")
        _check_size(f"{self.where}: {name}", sizes[name], most_bytes)
        with TemporaryDirectory(prefix=".pull-", dir=out.parent) as scratch, self._errors():
            found = self._api.hf_hub_download(self._repository, name, revision=self._revision, local_dir=scratch)
            shutil.copyfile(found, out)

    def _listing(self) -> dict[str, int | None]:
        """Sizes by name; from here on the revision is that commit."""
        if self._sizes is None:
            with self._errors():
                info = self._api.model_info(self._repository, revision=self._revision, files_metadata=True)
            self._revision = info.sha
            self._sizes = {each.rfilename: each.size for each in info.siblings or ()}
        return self._sizes

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Whatever a hub may answer becomes a message that says what to do."""
        from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

        try:
            yield
        except RepositoryNotFoundError as error:
            raise FileNotFoundError(
                f"{self.where}: {self._api.endpoint} has no such repository, or it is private: check the name, "
                "log in with hf auth login"
            ) from error
        except RevisionNotFoundError as error:
            raise FileNotFoundError(f"{self.where}: the repository has no such revision") from error
        except Exception as error:  # each version of huggingface_hub has the errors of another HTTP library
            status = getattr(getattr(error, "response", None), "status_code", None)
            if status in (401, 403):
                raise PermissionError(
                    f"{self.where}: {self._api.endpoint} does not allow it: log in with hf auth login"
                ) from error
            reason = str(error).strip().splitlines()
            raise ConnectionError(
                f"{self.where}: {self._api.endpoint} cannot be reached or answers oddly ({type(error).__name__}: "
                f"{reason[0][:200] if reason else ''}); check the network, or take a folder instead"
            ) from error


def _check_size(what: str, size: int | None, most: int) -> None:
    if size is not None and size > most:
        raise ValueError(f"{what} has {size} bytes, more than the {most} that are allowed here")
