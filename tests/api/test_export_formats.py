"""The forms of an export: what is written is read again, whatever an image is called."""

import csv
import io
import json
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text as text_clause
from sqlalchemy import update

from api import export_formats
from api.export_formats import COLUMNS, Export, safe_cell, write
from manifest_service.digests.bmap import BlockMapper
from manifest_service.manifests.database import Database
from manifest_service.manifests.models import ManifestBlockMap
from manifest_service.manifests.visibility import EVERYTHING
from tests.builders import claimed, computed, finish, new_key, observation, observe

TEXTS = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=40)
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001


@given(TEXTS)
def test_no_cell_begins_a_formula(text: str) -> None:
    for separator in ";|":
        for cell in safe_cell(text).split(separator):
            assert not cell.lstrip().startswith(FORMULA_STARTS)


@given(st.lists(TEXTS, min_size=1, max_size=5))
def test_a_row_is_one_line_and_is_read_as_what_it_is(texts: list[str]) -> None:
    cells = [safe_cell(text) for text in texts]
    written = io.StringIO()
    csv.writer(written).writerow(cells)

    assert len(written.getvalue().splitlines()) == 1
    assert list(csv.reader(io.StringIO(written.getvalue(), newline=""))) == [cells]


def test_harmless_text_stays_as_it_is() -> None:
    for text in ("debian-12", "a = b", 'say "x", twice', "Ünïcödé 漢字", "sha256:00 md5:11", "1e5", ""):
        assert safe_cell(text) == text
    assert [safe_cell(text) for text in ("=1+1", "  @x", "-2", "a;=b", "two\nlines", "\x1b[31m")] == [
        "'=1+1",
        "'  @x",
        "'-2",
        "a;'=b",
        "two\\nlines",
        "\\x1b[31m",
    ]


def test_each_manifest_is_one_line_whatever_it_is_called(local: Database) -> None:
    names = ["two\nlines", "\u2028\x85\x0b\r", '"},{"', "漢字 😀", "\\"]
    for name in names:
        observe(local, observation(image_id=str(uuid.uuid4()), name=name))

    text = whole(local, Export())

    assert text.count(b"\n") == len(names)
    assert [json.loads(line)["name"] for line in text.split(b"\n")[:-1]] == names


def test_block_maps_come_where_they_are_asked_for(local: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    mapper = BlockMapper(10)
    mapper.data(memoryview(b"data" * 4096))
    block_map = mapper.finish()
    assert block_map is not None
    observe(local, observation())
    finish(local, claimed(local), computed(block_map=block_map.as_xml()), new_key())

    plain = whole(local, Export())
    assert "bmap" not in json.loads(plain)
    assert json.loads(whole(local, Export(block_maps=True)))["bmap"] == block_map.as_xml()
    monkeypatch.setattr(export_formats, "LONGEST_LINE", len(plain) + 100)
    assert whole(local, Export(block_maps=True)) == plain  # Nobody would read so long a line.


def test_a_block_map_that_was_exchanged_is_left_out(local: Database) -> None:
    observe(local, observation())
    finish(local, claimed(local), computed(block_map="<bmap/>"), new_key())
    with local.engine.begin() as connection:
        connection.execute(update(ManifestBlockMap).values(document="<other/>"))
    assert "bmap" not in json.loads(whole(local, Export(block_maps=True)))
    with local.engine.begin() as connection:
        connection.execute(text_clause("UPDATE manifest_block_maps SET document = x'00'"))
    assert "bmap" not in json.loads(whole(local, Export(block_maps=True)))


def whole(database: Database, export: Export) -> bytes:
    return b"".join(piece.text for piece in write(database, EVERYTHING, export))


def test_columns_are_stable() -> None:
    assert ",".join(COLUMNS) == (
        "image_id,name,owner,visibility,status,code,revision,cache_name,disk_format,virtual_size,sha256,digests,"
        "source_size,source_checksums,computed_at,computed_by,changed_at,deleted_at,imported_at,key_id"
    )
