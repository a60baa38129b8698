"""Where settings come from, who wins, and what is said of mistakes."""

import warnings
from pathlib import Path
from typing import Any

import pytest

import flashtrial
from flashtrial.core.errors import ConfigurationError
from flashtrial.tracking.settings.limits import WhenFull
from flashtrial.tracking.settings.resolution import Settings, resolve
from testkit.journals import Init

pytestmark = pytest.mark.unit


@pytest.fixture
def home(tmp_path: Path) -> Path:
    path = tmp_path / "home"
    path.mkdir()
    return path


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A directory inside a repository of its own."""
    path = tmp_path / "repository" / "package"
    path.mkdir(parents=True)
    (path.parent / ".git").mkdir()
    return path


def test_who_comes_first_wins(home: Path, project: Path) -> None:
    environment = {"FLASHTRIAL_HOME": str(home)}
    say: dict[str, Any] = {"directory": project}

    def name() -> str:
        return resolve(say.get("said"), environment, **{key: say[key] for key in say if key != "said"}).project

    assert name() == "default"
    (home / "settings.toml").write_text("project = 'of the home'")
    assert name() == "of the home"
    (project.parent / "pyproject.toml").write_text("[tool.flashtrial]\nproject = 'of pyproject'")
    assert name() == "of pyproject"
    (project / "flashtrial.toml").write_text("project = 'of the project'")
    assert name() == "of the project"
    environment["MLOP_PROJECT"] = "of mlop"
    with pytest.warns(DeprecationWarning, match="MLOP_PROJECT is out of use: set FLASHTRIAL_PROJECT"):
        assert name() == "of mlop"
    environment["PLUTO_PROJECT"] = "of pluto"
    assert name() == "of pluto"
    environment["FLASHTRIAL_PROJECT"] = "of the variable"
    assert name() == "of the variable"
    say["defaults"] = {"project": "of setup"}
    assert name() == "of setup"
    say["said"] = Settings(project="of the object")
    assert name() == "of the object"
    say["project"] = "of the argument"
    assert name() == "of the argument"


def test_files_are_looked_for_up_to_the_repository_and_no_further(home: Path, project: Path) -> None:
    (project.parent.parent / "flashtrial.toml").write_text("project = 'outside'")
    (project.parent / "pyproject.toml").write_text("[tool.other]\nx = 1")
    assert resolve(None, {"FLASHTRIAL_HOME": str(home)}, directory=project).project == "default"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("project =", "cannot be read"),
        ("projekt = 'x'", "did you mean project"),
        ("url = 'http://evil'", "url may stand in no file but the home's: set FLASHTRIAL_URL"),
        ("host = 'evil'", "host may stand"),
        ("token = 'x'", "token may stand"),
        ("home = '/tmp'", "home may stand in no file"),
        ("finish_timeout_s = 'soon'", "finish_timeout_s is a number of seconds"),
    ],
)
def test_mistakes_in_a_file_name_the_file(home: Path, project: Path, content: str, message: str) -> None:
    path = project / "flashtrial.toml"
    path.write_text(content)
    with pytest.raises(ConfigurationError, match=message) as caught:
        resolve(None, {"FLASHTRIAL_HOME": str(home)}, directory=project)
    assert str(path) in str(caught.value)


def test_the_homes_file_may_name_the_server(home: Path, project: Path) -> None:
    (home / "settings.toml").write_text(
        "host = 'trials.example'\ntoken = 't'\nbackends = ['native', 'mlflow']\nconsole = false"
    )
    settings = resolve(None, {"FLASHTRIAL_HOME": str(home)}, directory=project)
    assert (settings.url, settings.token) == ("http://trials.example:8787", "t")
    assert (settings.backends, settings.console) == (("native", "mlflow"), False)


@pytest.mark.parametrize(
    ("variables", "token"),
    [
        ({"FLASHTRIAL_TOKEN": "a", "PLUTO_API_KEY": "b", "PLUTO_API_TOKEN": "c"}, "a"),
        ({"PLUTO_API_KEY": "b", "PLUTO_API_TOKEN": "c", "MLOP_API_TOKEN": "d"}, "b"),
        ({"PLUTO_API_TOKEN": "c", "MLOP_API_TOKEN": "d"}, "c"),
        ({"FLASHTRIAL_TOKEN": "", "PLUTO_API_KEY": "b"}, "b"),
        ({}, None),
    ],
)
def test_the_token_is_that_of_the_first_variable_and_quietly_so(variables: dict[str, str], token: str | None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert resolve(None, {"FLASHTRIAL_HOME": "/h", **variables}).token == token


def test_the_warning_of_a_variable_out_of_use_is_at_the_users_line() -> None:
    with pytest.warns(DeprecationWarning, match="MLOP_API_TOKEN") as caught:
        assert resolve(None, {"FLASHTRIAL_HOME": "/h", "MLOP_API_TOKEN": "d"}).token == "d"
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    ("place", "is_ours"), [("flashtrial/cli/of_ours.py", True), ("flashtrial_of_a_user.py", False)]
)
def test_a_users_line_is_one_outside_of_the_package(place: str, *, is_ours: bool) -> None:
    path = str(Path(flashtrial.__file__).parent.parent / place)
    names = {"resolve": resolve, "variables": {"FLASHTRIAL_HOME": "/h", "MLOP_API_TOKEN": "d"}}
    with pytest.warns(DeprecationWarning, match="MLOP_API_TOKEN") as caught:
        exec(compile("resolve(None, variables)", path, "exec"), names)
    assert caught[0].filename == (__file__ if is_ours else path)


def test_what_other_products_say_never_fails_an_init() -> None:
    environment = {"FLASHTRIAL_HOME": "/h", "PLUTO_DEBUG_LEVEL": "loud", "PLUTO_THREAD_JOIN_TIMEOUT_SECONDS": "soon"}
    settings = resolve(None, {**environment, "PLUTO_URL_API": "x", "FLASHTRIAL_NEVER_HEARD_OF": "1"})
    assert (settings.log_level, settings.finish_timeout_s) == (None, 30.0)


@pytest.mark.parametrize(
    ("said", "name", "value"),
    [
        ({"x_log_level": 10}, "log_level", "DEBUG"),
        ({"x_sys_sampling_interval": 4}, "system_interval_s", 4.0),
        ({"x_thread_join_timeout_seconds": 5}, "finish_timeout_s", 5.0),
        ({"disable_console": True}, "console", False),
        ({"disable_system_metrics": True}, "system_monitor", False),
        ({"x_file_stream_retry_max": 4}, "project", "default"),
        ({"_auth": "t"}, "token", "t"),
        ({"host": "h:99"}, "url", "http://h:99"),
        ({"host": "[::1]"}, "url", "http://[::1]:8787"),
        ({"host": "https://h"}, "url", "https://h"),
        ({"host": "h", "url": "http://u"}, "url", "http://u"),
        ({"backends": "mlflow"}, "backends", ("mlflow",)),
        ({"log_level": "debug"}, "log_level", "DEBUG"),
    ],
)
def test_other_names_of_settings_are_taken(said: dict[str, Any], name: str, value: Any) -> None:
    assert getattr(resolve(said, {"FLASHTRIAL_HOME": "/h"}), name) == value


@pytest.mark.parametrize(
    ("variable", "said", "name", "value"),
    [
        ("FLASHTRIAL_BACKENDS", "native, pluto", "backends", ("native", "pluto")),
        ("FLASHTRIAL_LOG_LEVEL", "warning", "log_level", "WARNING"),
        ("FLASHTRIAL_RUN_ID", "r", "run_id", "r"),
        ("FLASHTRIAL_CONSOLE", "off", "console", False),
        ("FLASHTRIAL_FACTS", "0", "facts", False),
        ("FLASHTRIAL_SYSTEM_MONITOR", "no", "system_monitor", False),
        ("FLASHTRIAL_SYSTEM_INTERVAL_S", "2", "system_interval_s", 2.0),
    ],
)
def test_the_variables_say_what_objects_say(variable: str, said: str, name: str, value: Any) -> None:
    assert getattr(resolve(None, {"FLASHTRIAL_HOME": "/h", variable: said}), name) == value


def test_the_limits_of_the_disk_are_settings_too() -> None:
    limits = resolve({"when_full": "raise", "outbox_bytes": 1 << 20}, {"FLASHTRIAL_HOME": "/h"}).limits
    assert (limits.when_full, limits.outbox_bytes) == (WhenFull.RAISE, 1 << 20)


@pytest.mark.parametrize(
    ("said", "environment"),
    [
        ({"backends": "carrier pigeon"}, {}),
        ({"backends": []}, {}),
        ({"log_level": "loud"}, {}),
        ({"console": "yes"}, {}),
        ({"system_interval_s": 0}, {}),
        ({"outbox_bytes": -1}, {}),
        ({"when_full": "panic"}, {}),
        ({"home": 3}, {}),
        ({"project": 3}, {}),
        ({"host": "a b:c"}, {}),
        (None, {"FLASHTRIAL_BACKENDS": "pigeon"}),
        (None, {"FLASHTRIAL_LOG_LEVEL": "loud"}),
    ],
)
def test_what_cannot_be_is_an_error(said: dict[str, Any] | None, environment: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError):
        resolve(said, {"FLASHTRIAL_HOME": "/h", **environment})


def test_what_setup_says_holds_for_the_inits_that_follow(init: Init) -> None:
    try:
        assert flashtrial.setup({"project": "of setup"}, finish_timeout_s=0).project == "of setup"
        assert init().project == "of setup"
        assert init(settings={"project": "other"}).project == "other"
        with pytest.raises(ConfigurationError, match="did you mean project"):
            flashtrial.setup(projekt="x")
    finally:
        flashtrial.setup()
    assert init().project == "default"


def test_a_token_for_an_address_without_encryption_is_warned_of_once(
    init: Init, caplog: pytest.LogCaptureFixture
) -> None:
    for url in ("http://clear.example", "http://clear.example", "https://safe.example", "http://127.0.0.1:1"):
        init(settings={"url": url, "token": "s3cret"})
    assert [record.message for record in caplog.records if "not encrypted" in record.message] == [
        "http://clear.example is not encrypted: whoever is on the way can read the token"
    ]
    assert "s3cret" not in caplog.text
