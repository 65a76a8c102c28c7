from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from misr4d.cli import main
from misr4d.specimens import fetch as module
from misr4d.specimens.catalogue import read_specimen
from misr4d.specimens.fetch import (
    DATASETS,
    KNOWN_MD5,
    Dataset,
    cache_folder,
    fetch,
    fetch_dataset,
    fetch_materials_project,
    fetch_pdb,
)

CONTENT = b"atoms " * 50_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
MD5 = hashlib.md5(CONTENT).hexdigest()
SILICON = {
    "data": [
        {
            "material_id": "mp-149",
            "structure": {
                "lattice": {"matrix": [[0, 2.73, 2.73], [2.73, 0, 2.73], [2.73, 2.73, 0]]},
                "sites": [
                    {"species": [{"element": "Si", "occu": 1}], "abc": [x, x, x]}
                    for x in (0.0, 0.25)
                ],
            },
        }
    ]
}
PDB = (
    "ATOM      1  CA  GLY A   1      11.104   6.134  -6.504  1.00  0.00           C\n"
    "ATOM      2  O   GLY A   1      12.104   6.134  -6.504  1.00  0.00           O\nEND\n"
)


class Server:
    """Answers by path, and remembers who asked what."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.patience = threading.Event()
        seen: Counter[str] = Counter()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *args: Any) -> None:
                pass

            def reply(self, status: int, body: bytes = b"", **headers: str) -> None:
                self.send_response(status)
                for name, value in ({"Content_Length": str(len(body))} | headers).items():
                    self.send_header(name.replace("_", "-"), value)
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self) -> None:
                path = self.path.split("?")[0]
                outer.requests.append((self.path, dict(self.headers.items())))
                seen[path] += 1
                if path == "/ok" or (path == "/twice" and seen[path] > 2):
                    self.reply(200, CONTENT)
                elif path == "/busy":
                    self.reply(200 if seen[path] > 1 else 429, CONTENT)
                elif path in ("/twice", "/broken"):
                    self.reply(503)
                elif path == "/cut":  # announces more than it sends
                    self.reply(
                        200,
                        CONTENT if seen[path] > 1 else CONTENT[:70_000],
                        Content_Length=str(len(CONTENT)),
                    )
                elif path == "/slow":
                    outer.patience.wait()  # for as long as the test runs
                elif path == "/refused":
                    self.reply(403)
                elif path == "/teapot":
                    self.reply(418)
                elif path == "/away":
                    self.reply(302, Location="http://example.invalid/ok")
                elif path == "/other":
                    self.reply(
                        302, Location=outer.address.replace("127.0.0.1", "localhost") + "/ok"
                    )
                elif path == "/unsized":
                    self.send_response(200)
                    self.end_headers()
                    self.wfile.write(CONTENT)
                elif path == "/8RQB.pdb":
                    self.reply(200, PDB.encode())
                elif path == "/mp" and "mp-149" in self.path:
                    self.reply(200, json.dumps(SILICON).encode())
                elif path == "/mp" and "mp-3" in self.path:
                    self.reply(200, b'{"error": "none"}')
                elif path == "/mp":
                    self.reply(200, b'{"data": []}')
                else:
                    self.reply(404)

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.http.server_port}"

    def asked(self) -> list[str]:
        return [path for path, _ in self.requests]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    server = Server()
    thread = threading.Thread(target=server.http.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.patience.set()
    server.http.shutdown()
    thread.join()
    server.http.server_close()


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("MISR4D_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MP_API_KEY", raising=False)
    return tmp_path / "cache"


def left(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.rglob("*") if p.is_file())


def test_a_file_is_fetched_once(server: Server, cache: Path) -> None:
    path = fetch(f"{server.address}/ok", "sub/atoms.txt", sha256=SHA256.upper(), md5=MD5)
    assert path == cache / "sub" / "atoms.txt"
    assert path.read_bytes() == CONTENT
    assert left(cache) == ["atoms.txt", "atoms.txt.sha256"]
    assert fetch(f"{server.address}/ok", "sub/atoms.txt") == path
    assert server.asked() == ["/ok"]


def test_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    assert cache_folder() == cache
    monkeypatch.delenv("MISR4D_CACHE")
    assert cache_folder() == Path.home() / ".cache" / "misr4d"


def test_an_absolute_path_is_taken_as_it_is(server: Server, tmp_path: Path) -> None:
    assert fetch(f"{server.address}/ok", tmp_path / "here") == tmp_path / "here"


@pytest.mark.parametrize("path", ["/twice", "/cut", "/busy"])
def test_a_failing_server_is_asked_again(server: Server, cache: Path, path: str) -> None:
    found = fetch(f"{server.address}{path}", "file", sha256=SHA256, pause=0.01)
    assert found.read_bytes() == CONTENT
    assert len(server.requests) == (3 if path == "/twice" else 2)
    assert left(cache) == ["file", "file.sha256"]


def test_a_server_that_stays_broken_is_named(server: Server, cache: Path) -> None:
    with pytest.raises(ConnectionError, match=r"/broken cannot be fetched after 3 attempts .*503"):
        fetch(f"{server.address}/broken", "file", retries=2, pause=0.01)
    assert len(server.requests) == 3
    assert left(cache) == []


@pytest.mark.parametrize(
    ("path", "kind", "message"),
    [
        ("/absent", FileNotFoundError, r"/absent does not exist \(status 404\)"),
        ("/refused", PermissionError, r"/refused is refused \(status 403\)"),
        ("/teapot", ConnectionError, "status 418"),
    ],
)
def test_a_final_answer_is_not_asked_for_again(
    server: Server, cache: Path, path: str, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        fetch(f"{server.address}{path}", "file")
    assert len(server.requests) == 1
    assert left(cache) == []


def test_nobody_at_home(cache: Path) -> None:
    with pytest.raises(ConnectionError, match="after 1 attempts"):
        fetch("http://127.0.0.1:9/ok", "file", retries=0)
    assert left(cache) == []


def test_timeout(server: Server, cache: Path) -> None:
    """The server never answers, so that only giving up ends this."""
    with pytest.raises(ConnectionError, match=r"after 2 attempts .*timed out"):
        fetch(f"{server.address}/slow", "file", timeout=0.1, retries=1, pause=0.01)
    assert not server.patience.is_set()
    assert left(cache) == []


@pytest.mark.parametrize("sums", [{"sha256": "0" * 64}, {"md5": "0" * 32}])
def test_a_wrong_checksum_leaves_nothing(server: Server, cache: Path, sums: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=f"/ok has {next(iter(sums))} .* expected 0000"):
        fetch(f"{server.address}/ok", "file", **sums)  # type: ignore[arg-type]
    assert left(cache) == []


def test_known_sums_are_checked_unasked(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(module.KNOWN_MD5, f"{server.address}/ok", "1" * 32)
    with pytest.raises(ValueError, match="expected 1111"):
        fetch(f"{server.address}/ok?download=1", "file")


def test_a_file_that_changed_in_the_cache_is_refused(server: Server, cache: Path) -> None:
    path = fetch(f"{server.address}/ok", "file")
    assert (cache / "file.sha256").read_text().strip() == SHA256
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(ValueError, match="delete it to fetch"):
        fetch(f"{server.address}/ok", "file")
    assert path.is_file()  # the user's to delete
    path.unlink()
    assert fetch(f"{server.address}/ok", "file").read_bytes() == CONTENT


@pytest.mark.parametrize("path", ["/ok", "/unsized"])
def test_size_limit(server: Server, cache: Path, path: str) -> None:
    with pytest.raises(ValueError, match="larger than 100000 bytes"):
        fetch(f"{server.address}{path}", "file", limit=100_000)
    assert left(cache) == []
    assert fetch(f"{server.address}{path}", "file", limit=len(CONTENT)).is_file()


@pytest.mark.parametrize(
    "url", ["http://example.invalid/x", "ftp://127.0.0.1/x", "file:///etc/hosts", "x.cif", "https:"]
)
def test_only_https(url: str) -> None:
    with pytest.raises(ValueError, match="is not an https address"):
        fetch(url, "file")


def test_redirects_stay_on_https_and_keys_on_their_host(server: Server, cache: Path) -> None:
    with pytest.raises(ValueError, match=r"example\.invalid/ok' is not an https address"):
        fetch(f"{server.address}/away", "file")
    fetch(f"{server.address}/other", "file", headers={"X-API-KEY": "secret"})
    sent = dict(server.requests)
    assert sent["/other"]["X-Api-Key"] == "secret"
    assert "X-Api-Key" not in sent["/ok"]
    assert sent["/ok"]["User-Agent"].startswith("misr4d/")


def test_a_path_cannot_leave_the_cache() -> None:
    with pytest.raises(ValueError, match="leaves the cache"):
        fetch("https://example.invalid/x", "../x")


def test_no_bar_without_a_terminal(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    fetch(f"{server.address}/ok", "file")
    assert capsys.readouterr() == ("", "")


def test_pdb_entry(server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PDB_ADDRESS", server.address)
    path = fetch_pdb("8rqb", kind="pdb")
    assert path == cache / "pdb" / "8RQB.pdb"
    assert str(read_specimen(path, 20.0).atoms.symbols) == "CO"
    with pytest.raises(FileNotFoundError, match=r"9ZZZ\.cif does not exist"):
        fetch_pdb("9ZZZ")
    with pytest.raises(ValueError, match="kind is 'xyz'"):
        fetch_pdb("8RQB", kind="xyz")


@pytest.mark.parametrize("entry", ["", "8RQ", "8RQBB", "RQB8", "8R/B", "8RQB\n", "../8"])
def test_bad_pdb_ids(entry: str) -> None:
    with pytest.raises(ValueError, match="is no PDB id"):
        fetch_pdb(entry)


def test_materials_project(server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MATERIALS_PROJECT_ADDRESS", f"{server.address}/mp")
    with pytest.raises(ValueError, match=r"wants an API key and none is given.*MP_API_KEY"):
        fetch_materials_project("mp-149")
    assert server.requests == []
    path = fetch_materials_project("mp-149", key="k3y")
    assert path == cache / "materials_project" / "mp-149.cif"
    atoms = read_specimen(path, 40.0, zone_axis=(1, 1, 0)).atoms
    assert atoms.get_all_distances(mic=False)[0][1:].min() == pytest.approx(2.364, abs=0.001)
    asked, headers = server.requests[0]
    assert "material_ids=mp-149" in asked
    assert "k3y" not in asked
    assert headers["X-Api-Key"] == "k3y"
    assert not any("k3y" in p.read_text() for p in cache.rglob("*") if p.is_file())
    # There already: neither key nor request.
    assert fetch_materials_project("mp-149") == path
    assert len(server.requests) == 1


def test_materials_project_takes_the_key_of_the_environment(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MATERIALS_PROJECT_ADDRESS", f"{server.address}/mp")
    monkeypatch.setenv("MP_API_KEY", "other")
    with pytest.raises(FileNotFoundError, match="has no material mp-2"):
        fetch_materials_project("mp-2")
    assert server.requests[0][1]["X-Api-Key"] == "other"
    with pytest.raises(ValueError, match="answer for mp-3 is not in the known form"):
        fetch_materials_project("mp-3")
    assert left(cache) == []


@pytest.mark.parametrize("material", ["", "149", "mp-", "mp-1/2", "mp-1&x=1", "MP-149", "mp-1\n"])
def test_bad_materials_project_ids(material: str) -> None:
    with pytest.raises(ValueError, match="is no Materials Project id"):
        fetch_materials_project(material, key="k")


def test_shared_sites_and_odd_keys_are_refused() -> None:
    shared = json.loads(json.dumps(SILICON))
    shared["data"][0]["structure"]["sites"][0]["species"][0]["occu"] = 0.5
    with pytest.raises(ValueError, match="mp-149 has sites that elements share"):
        module._structure(shared, "mp-149")
    with pytest.raises(ValueError, match="API key holds more than letters"):
        fetch_materials_project("mp-149", key="a\nHost: b")


def test_data_sets_are_fetched_by_name_and_checked(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MISR4D_CACHE", str(tmp_path))
    monkeypatch.setattr(module, "DATASETS", {"WS2": Dataset("a scan", server.address + "/ok", "-")})
    done = CliRunner().invoke(main, ["fetch", "WS2"])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "datasets" / "ok").read_bytes() == CONTENT
    assert str(tmp_path / "datasets" / "ok") in done.output
    fetch_dataset("WS2")
    assert server.asked() == ["/ok"]
    done = CliRunner().invoke(main, ["fetch", "gold"])
    assert done.exit_code == 2
    assert "unknown data set 'gold'; known: WS2" in done.output


def test_a_data_set_that_cannot_be_had_is_one_line_and_leaves_nothing(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MISR4D_CACHE", str(tmp_path))
    gone = Dataset("a scan", server.address + "/teapot", "-")
    monkeypatch.setattr(module, "DATASETS", {"WS2": gone})
    done = CliRunner().invoke(main, ["fetch", "WS2"])
    assert done.exit_code != 0
    assert "cannot be fetched" in done.output
    assert "Traceback" not in done.output
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_every_data_set_has_a_published_sum() -> None:
    for dataset in DATASETS.values():
        assert dataset.url in KNOWN_MD5 or dataset.unpack is not None
