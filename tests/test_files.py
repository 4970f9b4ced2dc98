import pytest

from lipsync.files import whole


def test_appears_only_when_the_block_is_left(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("old")
    with whole(str(path)) as beside:
        assert beside == tmp_path / "a.json.part"
        beside.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


def test_an_error_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("old")

    def interrupted():
        with whole(path) as beside:
            beside.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


def test_creates_no_folder(tmp_path):
    with pytest.raises(FileNotFoundError), whole(tmp_path / "missing" / "a.json") as beside:
        beside.write_text("new")
    assert not list(tmp_path.iterdir())


def test_of_two_who_write_at_once_the_last_to_finish_wins(tmp_path):
    path = tmp_path / "a.json"
    with whole(path, contested=True) as slow:
        slow.write_text("slow")
        with whole(path, contested=True) as quick:
            quick.write_text("quick")
        assert path.read_text() == "quick"
    assert path.read_text() == "slow"
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]
