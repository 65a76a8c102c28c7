"""Files from the network, checked and cached: PDB, Materials Project, and any https address.

Nothing here is needed for the specimens that ship with the package. A file lands in
``~/.cache/misr4d`` (or the folder that MISR4D_CACHE names) only when it is complete and checked. A
file that is already there is used without the network.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import IO, Any

import ase.io
from ase import Atoms
from tqdm import tqdm

from misr4d import __version__
from misr4d.core.files import whole_file, write_whole
from misr4d.specimens import cryo_scan

__all__ = [
    "DATASETS",
    "KNOWN_MD5",
    "Dataset",
    "cache_folder",
    "fetch",
    "fetch_dataset",
    "fetch_materials_project",
    "fetch_pdb",
]

KNOWN_MD5: dict[str, str] = {
    "https://zenodo.org/records/15490547/files/smallPtychography.hspy": (
        "df9376d5c020a23f0f7f51cfe79f303f"
    ),
    "https://zenodo.org/records/15490547/files/PdNiP.zspy": "b16375d23eda3da60ea2ff36cc11c5bd",
}
"""Published MD5 sums by address, which :func:`fetch` always checks.

Entries of the PDB and the Materials Project have none here: they are revised in place, and none
of their sums could be verified when this was written. Their sums are recorded on the first fetch.
"""


@dataclass(frozen=True)
class Dataset:
    """A published scan.

    Parameters
    ----------
    title : str
        What it is, with its authors' record.
    url : str
    licence : str
    name : str
        Of the file, where it is not the address' last part.
    unpack : callable, optional
        Makes that file from the fetched one, and checks it: called with both paths.
    """

    title: str
    url: str
    licence: str
    name: str = ""
    unpack: Callable[[Path, Path], Path] | None = None

    @property
    def path(self) -> Path:
        """Where the file is stored once it is fetched. It need not exist yet."""
        return _place(Path("datasets") / (self.name or self.url.rsplit("/", 1)[-1]))


_ZENODO = "https://zenodo.org/records/15490547/files/"
DATASETS: Mapping[str, Dataset] = {
    "WS2": Dataset(
        "bilayer WS₂, 12.5 MB, zenodo record 15490547",
        _ZENODO + "smallPtychography.hspy",
        "CC-BY-4.0",
    ),
    "PdNiP": Dataset(
        "PdNiP glass, 305 MB, zenodo record 15490547", _ZENODO + "PdNiP.zspy", "CC-BY-4.0"
    ),
    "cryo": Dataset(
        "virus particles in ice, 331 MB of which 66 MB are kept, github SeanXPWu/Ptycho.jl",
        cryo_scan.URL,
        "MIT",
        "cryo_scan.npy",
        cryo_scan.from_archive,
    ),
}
"""Experimental scans by name, for :func:`fetch_dataset`; :data:`KNOWN_MD5` has their sums."""

PDB_ADDRESS = "https://files.rcsb.org/download"
MATERIALS_PROJECT_ADDRESS = "https://api.materialsproject.org/materials/summary/"

_TIMEOUT = 30.0  # s without an answer or a byte: our choice
_RETRIES = 3  # our choice, with pauses of 1, 2 and 4 s
_LIMIT = 2 * 1024**3  # bytes: our choice, above every file that this package names
_CHUNK = 1 << 16
_LOCAL = ("127.0.0.1", "::1", "localhost")


def cache_folder() -> Path:
    """Folder of the fetched files: MISR4D_CACHE, or ``~/.cache/misr4d``."""
    return Path(os.environ.get("MISR4D_CACHE") or "~/.cache/misr4d").expanduser()


def fetch(
    url: str,
    path: str | Path,
    *,
    sha256: str | None = None,
    md5: str | None = None,
    timeout: float = _TIMEOUT,
    retries: int = _RETRIES,
    pause: float = 1.0,
    limit: int = _LIMIT,
    headers: dict[str, str] | None = None,
) -> Path:
    """Fetch a file once, check it and keep it.

    Parameters
    ----------
    url : str
        An https address; http is allowed to this computer only.
    path : str or Path
        Where to put the file; relative to :func:`cache_folder` unless absolute.
    sha256, md5 : str, optional
        Checksum in hexadecimal. Without one, :data:`KNOWN_MD5` is used. A file without
        any checksum is trusted the first time: its SHA-256 is written next to it and is checked
        from then on.
    timeout : float
        Longest wait for an answer or for its next part [s].
    retries : int
        Further attempts after a timeout, a broken connection or a server's error (status 5xx
        or 429), `pause`, 2 · `pause`, 4 · `pause`, … seconds apart.
    pause : float
        First wait between attempts [s].
    limit : int
        Largest size to accept [bytes].
    headers : dict, optional
        Further request headers; not passed on when the server redirects to another host.

    Returns
    -------
    Path
        The file, whole and checked.

    Raises
    ------
    ValueError
        If the address is not https, the path leaves the cache, or the file is too large or has
        another checksum. A file just fetched is then deleted; a file that existed is left.
    FileNotFoundError
        If the server has no such file (status 404 or 410).
    PermissionError
        If the server refuses (status 401 or 403).
    ConnectionError
        For any other failure of the network or the server, after the last attempt.
    """
    _check_address(url)
    path = _place(path)
    if sha256 is None and md5 is None:
        md5 = KNOWN_MD5.get(url.split("?")[0])
    record = path.with_name(path.name + ".sha256")
    if path.is_file():
        if sha256 is None and md5 is None and record.is_file():
            sha256 = record.read_text(encoding="ascii").strip()
        checksum = _check_sums(path, path, sha256, md5, f"delete it to fetch {url} again")
        write_whole(record, checksum + "\n")
        return path
    with whole_file(path) as temporary:
        with temporary.open("wb") as target:
            _download(url, target, headers or {}, timeout, retries, pause, limit)
        checksum = _check_sums(
            temporary, url, sha256, md5, "it was not kept; ask again, or elsewhere"
        )
        write_whole(record, checksum + "\n")
    return path


def fetch_dataset(name: str, **options: Any) -> Path:
    """Fetch a published scan, for :func:`misr4d.io.reading.read_scan`.

    Parameters
    ----------
    name : str
        One of :data:`DATASETS`.
    **options
        For :func:`fetch`.

    Returns
    -------
    Path

    Raises
    ------
    ValueError
        If there is no such data set, or the file does not have its published sum.
    FileNotFoundError, PermissionError, ConnectionError
        As :func:`fetch`.
    """
    if name not in DATASETS:
        raise ValueError(f"unknown data set {name!r}; known: {', '.join(DATASETS)}")
    dataset = DATASETS[name]
    if dataset.unpack is None:
        return fetch(dataset.url, dataset.path, **options)
    if not dataset.path.is_file():
        archive = fetch(dataset.url, dataset.path.with_suffix(".archive"), **options)
        dataset.unpack(archive, dataset.path)
        archive.unlink()
        archive.with_name(archive.name + ".sha256").unlink(missing_ok=True)
    return dataset.path


def fetch_pdb(entry: str, *, kind: str = "cif", **options: Any) -> Path:
    """Fetch an entry of the Protein Data Bank.

    Parameters
    ----------
    entry : str
        Four-character id, such as ``"8RQB"``.
    kind : {"cif", "pdb"}
        Format; the largest entries do not exist in the second.
    **options
        For :func:`fetch`.

    Returns
    -------
    Path
        For :func:`misr4d.specimens.catalogue.read_specimen`.

    Raises
    ------
    ValueError
        If the id or the format is not valid.
    FileNotFoundError, PermissionError, ConnectionError
        As :func:`fetch`.
    """
    if not re.fullmatch(r"[1-9][A-Za-z0-9]{3}", entry):
        raise ValueError(
            f"{entry!r} is no PDB id; expected a digit and three letters or digits, such as 8RQB"
        )
    if kind not in ("pdb", "cif"):
        raise ValueError(f"kind is {kind!r}; expected 'cif' or 'pdb'")
    name = f"{entry.upper()}.{kind}"
    return fetch(f"{PDB_ADDRESS}/{name}", Path("pdb") / name, **options)


def fetch_materials_project(material: str, key: str | None = None, **options: Any) -> Path:
    """Fetch a crystal structure of the Materials Project as a CIF.

    Parameters
    ----------
    material : str
        Such as ``"mp-1173879"``.
    key : str, optional
        API key; the environment's MP_API_KEY unless given. It is sent in a header and not
        stored. A structure that is already cached needs no key.
    **options
        For :func:`fetch`.

    Returns
    -------
    Path
        A CIF, for :func:`misr4d.specimens.catalogue.read_specimen`; the answer is next to it as
        JSON.

    Raises
    ------
    ValueError
        If the id or the answer is not valid, a site is shared by several elements, or no key is
        known.
    FileNotFoundError
        If the Materials Project does not know the material.
    PermissionError
        If it refuses the key.
    ConnectionError
        As :func:`fetch`.
    """
    if not re.fullmatch(r"(mp|mvc)-[a-z0-9]{1,16}", material):
        raise ValueError(
            f"{material!r} is no Materials Project id; expected one such as mp-1173879"
        )
    answer = _place(Path("materials_project") / f"{material}.json")
    if not answer.is_file():
        key = key or os.environ.get("MP_API_KEY")
        if not key:
            raise ValueError(
                "the Materials Project wants an API key and none is given; get one at "
                "https://next-gen.materialsproject.org/api and pass it as key, or set MP_API_KEY"
            )
        if not re.fullmatch(r"[A-Za-z0-9_-]+", key):
            raise ValueError("the API key holds more than letters, digits, - and _; check it")
        options["headers"] = {"X-API-KEY": key}
    query = urllib.parse.urlencode({"material_ids": material, "_fields": "material_id,structure"})
    fetch(f"{MATERIALS_PROJECT_ADDRESS}?{query}", answer, **options)
    try:
        atoms = _structure(json.loads(answer.read_text(encoding="utf-8")), material)
    except (ValueError, FileNotFoundError):
        # An answer without a structure must not be used as one next time.
        for file in (answer, answer.with_name(answer.name + ".sha256")):
            file.unlink(missing_ok=True)
        raise
    path = answer.with_suffix(".cif")
    with whole_file(path) as temporary:
        ase.io.write(temporary, atoms, format="cif")
    return path


def _structure(answer: Any, material: str) -> Atoms:
    """Read the first structure of an answer of the Materials Project (pymatgen's layout)."""
    try:
        entries = answer["data"]
        if not entries:
            raise FileNotFoundError(f"the Materials Project has no material {material}")
        structure = entries[0]["structure"]
        species = [site["species"] for site in structure["sites"]]
        if any(len(kinds) != 1 or kinds[0]["occu"] != 1 for kinds in species):
            raise ValueError(
                f"{material} has sites that elements share; expected an ordered structure"
            )
        return Atoms(
            [kinds[0]["element"] for kinds in species],
            scaled_positions=[site["abc"] for site in structure["sites"]],
            cell=structure["lattice"]["matrix"],
            pbc=True,
        )
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(
            f"the Materials Project's answer for {material} is not in the known form "
            f"({type(error).__name__}: {error}); expected data → structure → lattice and sites"
        ) from error


def _place(path: str | Path) -> Path:
    path = Path(path)
    if path.is_absolute():
        return path
    if ".." in path.parts:
        raise ValueError(f"path {str(path)!r} leaves the cache; expected one below it")
    return cache_folder() / path


def _check_address(url: str) -> None:
    address = urllib.parse.urlsplit(url)
    if address.scheme == "https" and address.hostname:
        return
    if address.scheme == "http" and address.hostname in _LOCAL:
        return
    raise ValueError(f"{url!r} is not an https address; expected https://…")


def _check_sums(
    path: Path, source: str | Path, sha256: str | None, md5: str | None, advice: str
) -> str:
    """Compare a file with its known sums and return its SHA-256."""
    expected = {"sha256": sha256, "md5": md5}
    digests = {
        "sha256": hashlib.sha256(),
        "md5": hashlib.md5(
            usedforsecurity=False
        ),  # repositories publish it; no protection against attack
    }
    with path.open("rb") as source_file:
        while chunk := source_file.read(_CHUNK):
            for digest in digests.values():
                digest.update(chunk)
    for name, expected_sum in expected.items():
        checksum = digests[name].hexdigest()
        if expected_sum is not None and checksum != expected_sum.lower():
            raise ValueError(f"{source} has {name} {checksum}; expected {expected_sum}; {advice}")
    return digests["sha256"].hexdigest()


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follow redirects to allowed addresses, and keep a key from other hosts."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: Message,
        newurl: str,
    ) -> urllib.request.Request | None:
        """Check the new address. The caller's headers are sent only to the same host."""
        _check_address(newurl)
        request = super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]
        old_address, new_address = (
            urllib.parse.urlsplit(address) for address in (req.full_url, newurl)
        )
        if request is not None and (old_address.scheme, old_address.netloc) != (
            new_address.scheme,
            new_address.netloc,
        ):
            request.headers = {"User-agent": _AGENT}
        return request


_AGENT = f"misr4d/{__version__}"


def _download(
    url: str,
    target: IO[bytes],
    headers: dict[str, str],
    timeout: float,
    retries: int,
    pause: float,
    limit: int,
) -> None:
    """Write an address's content to an open file. Retry from the start if that may help."""
    for attempt in range(retries + 1):
        target.seek(0)
        target.truncate()
        try:
            _download_once(url, target, headers, timeout, limit)
            return
        except urllib.error.HTTPError as error:
            error.close()
            if error.code in (404, 410):
                raise FileNotFoundError(f"{url} does not exist (status {error.code})") from None
            if error.code in (401, 403):
                raise PermissionError(
                    f"{url} is refused (status {error.code}); check the key, if it takes one"
                ) from None
            reason = f"status {error.code}"
            if error.code < 500 and error.code != 429:
                raise ConnectionError(f"{url} cannot be fetched: {reason}") from None
        except (OSError, http.client.HTTPException) as error:
            reason = f"{type(error).__name__}: {error}"
        if attempt < retries:
            time.sleep(pause * 2**attempt)
    raise ConnectionError(
        f"{url} cannot be fetched after {retries + 1} attempts ({reason}); check the network, or "
        "try later"
    )


def _download_once(
    url: str, target: IO[bytes], headers: dict[str, str], timeout: float, limit: int
) -> None:
    opener = urllib.request.build_opener(_Redirects())
    request = urllib.request.Request(url, headers={"User-Agent": _AGENT, **headers})
    with opener.open(request, timeout=timeout) as response:
        announced = response.headers.get("Content-Length")
        size = int(announced) if announced and announced.isdigit() else None
        # disable=None: a bar on a terminal only.
        with tqdm(
            total=size, unit="B", unit_scale=True, disable=None, desc=url.rsplit("/", 1)[-1]
        ) as bar:
            received = 0
            while True:
                if max(size or 0, received) > limit:
                    raise ValueError(
                        f"{url} is larger than {limit} bytes; raise limit if it should be"
                    )
                chunk = response.read(_CHUNK)
                if not chunk:
                    break
                target.write(chunk)
                received += len(chunk)
                bar.update(len(chunk))
    if size is not None and received != size:
        raise http.client.IncompleteRead(b"", size - received)
