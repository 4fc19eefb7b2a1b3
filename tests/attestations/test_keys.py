"""Key files: what is taken, what is refused and why, and what is left behind."""

import os
import stat
import subprocess
from pathlib import Path

import pytest

from manifest_service.attestations.keys import (
    BadKey,
    generate_private_key,
    load_private_key,
    load_public_key,
    read_public_key,
)
from manifest_service.errors import UsageError
from tests.servers import programs


def run_openssl(*arguments: object, data: bytes | None = None) -> bytes:
    openssl = programs.find("openssl", "openssl")
    return subprocess.run([openssl, *map(str, arguments)], input=data, capture_output=True, check=True).stdout


def test_a_new_key_signs_and_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    made = generate_private_key(path)
    read = load_private_key(path)

    assert read.public.key_id == made.public.key_id
    assert made.public.has_signed(b"message", read.sign(b"message"))
    assert not made.public.has_signed(b"another", read.sign(b"message"))
    assert not made.public.has_signed(b"message", b"")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["key.pem"]


def test_openssl_comes_to_the_same_key_id_and_signature(tmp_path: Path) -> None:
    key = generate_private_key(tmp_path / "key.pem")
    (tmp_path / "public.pem").write_text(key.public.pem)
    (tmp_path / "message").write_bytes(b"message")

    der = run_openssl("pkey", "-pubin", "-in", tmp_path / "public.pem", "-outform", "DER")
    assert run_openssl("dgst", "-sha256", "-hex", data=der).split()[-1].decode() == key.public.key_id
    signature = run_openssl("pkeyutl", "-sign", "-rawin", "-inkey", tmp_path / "key.pem", "-in", tmp_path / "message")
    assert signature == key.sign(b"message")


def test_a_key_that_openssl_made_will_do(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    run_openssl("genpkey", "-algorithm", "ed25519", "-out", path)
    path.chmod(0o400)

    assert load_private_key(path).public.pem.encode() == run_openssl("pkey", "-in", path, "-pubout")


def test_nothing_is_ever_replaced(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_text("what was there")
    link = tmp_path / "link.pem"
    link.symlink_to("nowhere")

    for taken in (path, link):
        with pytest.raises(UsageError) as caught:
            generate_private_key(taken)
        assert caught.value.code == "key-exists"
    assert path.read_text() == "what was there"
    assert sorted(os.listdir(tmp_path)) == ["key.pem", "link.pem"]
    with pytest.raises(BadKey, match="no such file"):
        generate_private_key(tmp_path / "nowhere" / "key.pem")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644, 0o660, 0o601])
def test_a_private_key_that_others_may_touch_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key.pem"
    generate_private_key(path)
    path.chmod(mode)

    with pytest.raises(BadKey, match=f"mode {mode:04o}.*chmod 600"):
        load_private_key(path)


def test_a_private_key_is_a_file_of_ours_and_no_link(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    generate_private_key(path)
    (tmp_path / "link.pem").symlink_to(path)
    os.mkfifo(tmp_path / "fifo.pem")

    with pytest.raises(BadKey, match="symbolic link"):
        load_private_key(tmp_path / "link.pem")
    for other in (tmp_path / "fifo.pem", tmp_path, Path("/dev/null")):
        with pytest.raises(BadKey, match="no regular file"):
            load_private_key(other)
    with pytest.raises(BadKey, match="no such file"):
        load_private_key(tmp_path / "nothing")
    with pytest.raises(BadKey, match="null byte"):
        load_private_key(Path("\0"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")
def test_a_private_key_of_somebody_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    generate_private_key(path)
    os.chown(path, 65534, 0)

    with pytest.raises(BadKey, match="belongs to user 65534"):
        load_private_key(path)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "no private key in PEM"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "no private key in PEM"),
        (b"\xff" * 100, "no private key in PEM"),
        (b"#" * 20000, "more than 16384 bytes"),
    ],
)
def test_what_is_no_private_key_is_told(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(content)
    path.chmod(0o600)

    with pytest.raises(BadKey, match=told):
        load_private_key(path)


def test_keys_of_other_kinds_and_with_a_passphrase_are_refused(tmp_path: Path) -> None:
    other, locked = tmp_path / "ec.pem", tmp_path / "locked.pem"
    run_openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", other)
    run_openssl("genpkey", "-algorithm", "ed25519", "-aes256", "-pass", "pass:secret", "-out", locked)
    for path in (other, locked):
        path.chmod(0o600)

    with pytest.raises(BadKey, match="Ed25519 key was expected"):
        load_private_key(other)
    with pytest.raises(BadKey, match="encrypted"):
        load_private_key(locked)
    with pytest.raises(BadKey, match="an Ed25519 key was expected"):
        read_public_key(run_openssl("pkey", "-in", other, "-pubout").decode())


def test_a_public_key_may_be_read_by_all_and_a_private_one_is_not_taken_for_it(tmp_path: Path) -> None:
    key = generate_private_key(tmp_path / "key.pem")
    public = tmp_path / "public.pem"
    public.write_text("a comment\n" + key.public.pem)
    link = tmp_path / "link.pem"
    link.symlink_to(public)

    assert load_public_key(link).key_id == key.public.key_id
    with pytest.raises(BadKey, match="holds a private key"):
        load_public_key(tmp_path / "key.pem")
    public.write_text("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")
    with pytest.raises(BadKey, match="public key in PEM"):
        load_public_key(public)
