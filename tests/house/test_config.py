"""Configuration: flag, environment, raven.yaml, default, in this order; an error names the wrong value."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from raven import ConfigError
from raven.config import FILE_NAME, LOG_LEVELS, find_file, load, template


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the tests a home folder of their own, and remove raven's settings from the environment."""
    for name in ("RAVEN_DB", "RAVEN_LOG_LEVEL", "RAVEN_SOCKET"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    return folder


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a new folder."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def write(folder: Path, text: str) -> str:
    path = folder / FILE_NAME
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_without_anything_the_bus_is_the_users_own_and_its_folder_is_made_private(work: Path, home: Path) -> None:
    config = load()

    assert config.db == str(home / ".raven" / "bus.db")
    assert config.db_source == "the per-user default"
    assert (home / ".raven").stat().st_mode & 0o777 == 0o700
    assert (config.file, config.log_level, config.busy_timeout_s, config.durability) == (None, "warning", 5.0, "normal")
    assert config.max_body_bytes == 4 * 1024 * 1024


def test_the_flag_comes_before_the_environment_and_that_before_the_file(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(work, "db: from-file.db")
    assert (load().db, load().db_source) == (str(work / "from-file.db"), file)

    monkeypatch.setenv("RAVEN_DB", "from-env.db")
    assert (load().db, load().db_source) == (str(work / "from-env.db"), "the environment variable RAVEN_DB")

    assert (load(db="from-flag.db").db, load(db="from-flag.db").db_source) == (str(work / "from-flag.db"), "--db")


def test_an_empty_flag_or_variable_is_as_good_as_none(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(work, "db: from-file.db")
    monkeypatch.setenv("RAVEN_DB", "")
    monkeypatch.setenv("RAVEN_LOG_LEVEL", "")

    assert load(db="").db == str(work / "from-file.db")
    assert load().log_level == "warning"


def test_a_relative_path_in_the_file_starts_at_the_file_not_at_the_working_folder(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(work, "db: data/bus.db")
    below = work / "a" / "b"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)

    assert load().db == str(work / "data" / "bus.db")


def test_an_absolute_path_and_one_from_home_are_taken_as_they_are(work: Path, home: Path) -> None:
    write(work, "db: /elsewhere/bus.db")
    assert load().db == "/elsewhere/bus.db"

    write(work, "db: ~/bus.db")
    assert load().db == str(home / "bus.db")
    assert load(db="~/flag.db").db == str(home / "flag.db")


def test_the_nearest_parent_with_a_file_wins(work: Path) -> None:
    write(work, "db: far.db")
    near = work / "near"
    below = near / "a" / "b"
    below.mkdir(parents=True)
    file = write(near, "db: near.db")

    assert find_file(str(below)) == file
    assert load(folder=str(below)).db == str(near / "near.db")


def test_a_folder_called_raven_yaml_is_not_the_file(work: Path) -> None:
    file = write(work, "db: x.db")
    below = work / "below"
    (below / FILE_NAME).mkdir(parents=True)

    assert find_file(str(below)) == file


def test_a_file_without_db_leaves_the_default_bus(work: Path, home: Path) -> None:
    write(work, "log_level: debug")

    assert load().db == str(home / ".raven" / "bus.db")
    assert load().log_level == "debug"


@pytest.mark.parametrize("text", ["", "# nothing but a comment\n", "---\n"])
def test_an_empty_file_sets_nothing(work: Path, text: str) -> None:
    file = write(work, text)

    assert load(db="x.db").file == file
    assert load(db="x.db").busy_timeout_s == 5.0


def test_every_setting_of_the_file_is_read(work: Path) -> None:
    write(work, "{db: x.db, log_level: error, busy_timeout_s: 0.5, durability: full, max_body_bytes: 10}")

    config = load()

    assert (config.log_level, config.busy_timeout_s, config.durability, config.max_body_bytes) == (
        "error", 0.5, "full", 10,
    )  # fmt: skip


def test_the_environments_log_level_comes_before_the_files(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(work, "{db: x.db, log_level: error}")
    monkeypatch.setenv("RAVEN_LOG_LEVEL", "INFO")

    assert load().log_level == "info"


def test_an_unknown_log_level_of_the_environment_is_refused(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAVEN_LOG_LEVEL", "loud")

    with pytest.raises(ConfigError, match="'loud' is not known: use debug, info, warning, error"):
        load(db="x.db")


def test_an_unknown_key_is_refused_with_the_file_and_the_known_ones(work: Path) -> None:
    file = write(work, "databse: x.db")

    with pytest.raises(ConfigError) as caught:
        load()

    assert file in str(caught.value)
    assert "'databse' is not known: use db, log_level, busy_timeout_s, durability, max_body_bytes" in str(caught.value)


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("db: 5", "db is 5"),
        ("db: ''", "db is ''"),
        ("db:", "db is None"),
        ("db: [x]", r"db is \['x'\]"),
        ("log_level: loud", "log_level is 'loud'"),
        ("log_level: 3", "log_level is 3"),
        ("busy_timeout_s: -1", "busy_timeout_s is -1"),
        ("busy_timeout_s: 3601", "busy_timeout_s is 3601"),
        ("busy_timeout_s: .nan", "busy_timeout_s is nan"),
        ("busy_timeout_s: true", "busy_timeout_s is True"),
        ("busy_timeout_s: '5'", "busy_timeout_s is '5'"),
        ("durability: max", "durability is 'max'"),
        ("durability: [full]", r"durability is \['full'\]"),
        ("max_body_bytes: 0", "max_body_bytes is 0"),
        ("max_body_bytes: 1.5", "max_body_bytes is 1.5"),
        ("max_body_bytes: yes", "max_body_bytes is True"),
    ],
)
def test_a_bad_value_is_refused_with_its_key_and_itself(work: Path, line: str, shown: str) -> None:
    write(work, line)

    with pytest.raises(ConfigError, match=shown):
        load()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("db: [", "is not YAML"),
        ("{a: b", "is not YAML"),
        ("- db", "holds list"),
        ("just text", "holds str"),
        ("5", "holds int"),
    ],
)
def test_a_file_that_is_no_mapping_in_yaml_is_refused_by_name(work: Path, text: str, reason: str) -> None:
    file = write(work, text)

    with pytest.raises(ConfigError, match=reason) as caught:
        load()

    assert file in str(caught.value)


def test_a_file_that_is_no_text_is_refused_by_name(work: Path) -> None:
    (work / FILE_NAME).write_bytes(b"\xff\xfe\x00db")

    with pytest.raises(ConfigError, match=r"cannot be read|not YAML"):
        load()


def test_a_home_that_is_a_file_is_said(work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("HOME", str(tmp_path / "file"))

    with pytest.raises(ConfigError, match=r"cannot be created: .*; set RAVEN_DB"):
        load()


def test_every_key_that_init_writes_is_read_and_means_the_default(work: Path) -> None:
    write(work, template("x.db"))
    config = load()
    (work / FILE_NAME).unlink()
    default = load(db="x.db")

    assert config.db == str(work / "x.db")
    for key in yaml.safe_load(template("x.db")).keys() - {"db"}:
        assert getattr(config, key) == getattr(default, key)


def test_init_writes_every_key_that_is_known(work: Path) -> None:
    write(work, "nothing: 1")
    with pytest.raises(ConfigError) as caught:
        load()
    known = str(caught.value).rpartition("use ")[2].split(", ")

    assert sorted(yaml.safe_load(template("x.db"))) == sorted(known)
    assert all(level in template("x.db") for level in LOG_LEVELS)


@settings(max_examples=200, deadline=None, database=None)
@given(
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).filter(str.strip) | st.text("a ./", min_size=90)
)
def test_any_path_survives_being_written_by_init(path: str) -> None:
    assert yaml.safe_load(template(path))["db"] == path
