"""An export as the manifests of a node that reaches no API, and of one that reaches another site's."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from manifest_service.manifests import schema
from manifest_service.manifests.database import Database
from tests.api.client import Client
from tests.builders import new_key
from tests.commands.test_export import config_for, run
from tests.node.conftest import Node
from tests.node.images import convert, make_image

pytestmark = pytest.mark.slow


def test_a_bundle_serves_nodes_that_are_offline(
    node: Node, serve_api: Callable[..., Client], qemu_img: Path, tmp_path: Path
) -> None:
    key, key_file, bundle = new_key(), tmp_path / "key.pem", tmp_path / "manifests.jsonl"
    key_file.write_text(key.public.pem)
    image = make_image(tmp_path)
    disk = convert(image, node.path_of(node.publish(image, signer=key)))
    done = run("export", "--url", node.api.url, "--with-block-maps", "-o", bundle)
    assert done.returncode == 0, done.stderr
    other = Database(f"sqlite:///{tmp_path}/other.sqlite")
    schema.upgrade(other)
    (tmp_path / "other").mkdir()
    config = config_for(tmp_path / "other", other)
    assert run("import", bundle, "--trusted-key", key_file, "--config-file", config).returncode == 0

    for source in (["--manifests", bundle], ["--url", serve_api(other).url]):
        options = [*source, "--trusted-key", key_file]
        assert run("scan", *options, node.base).returncode == 0
        assert run("verify", *options, disk).returncode == 0
    with disk.open("r+b") as file:
        file.seek(1 << 20)
        file.write(b"changed")
    for source in (["--manifests", bundle], ["--url", serve_api(other).url]):
        done = run("scan", "--json", *source, "--trusted-key", key_file, node.base)
        assert done.returncode == 4
        assert json.loads(done.stdout)["differs"]
