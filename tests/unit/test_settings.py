"""Where a setting comes from, and what is said when it is wrong."""

import os
from pathlib import Path

import pytest
import yaml

from consumer.errors import SettingsError
from consumer.settings import Settings, load_settings

SECRET = "zanzibar"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("DEDUP_"):
            monkeypatch.delenv(name)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "settings.yaml"


def write(file: Path, **tree: object) -> Path:
    file.write_text(yaml.safe_dump(tree), encoding="utf-8")
    return file


def fault(config: Path | None = None, overrides: dict[str, object] | None = None) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(config, overrides)
    assert SECRET not in str(caught.value)
    assert SECRET not in repr(caught.value)
    return str(caught.value)


def test_without_anything_there_are_defaults() -> None:
    settings = load_settings()
    assert settings == Settings()
    assert (settings.profile, settings.index.neighbours, settings.kafka.bootstrap_servers) == ("signup", 20, "")


def test_file_then_environment_then_command_line(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(file, profile="file", index={"neighbours": 1, "m": 2, "ef": 3}, log={"level": "error"})
    monkeypatch.setenv("DEDUP_PROFILE", "environment")
    monkeypatch.setenv("DEDUP_INDEX__NEIGHBOURS", "10")
    monkeypatch.setenv("DEDUP_INDEX__M", "20")
    settings = load_settings(file, {"profile": "command", "index.neighbours": 100, "state.directory": "elsewhere"})
    assert settings.profile == "command"
    assert (settings.index.neighbours, settings.index.m, settings.index.ef) == (100, 20, 3)
    assert settings.index.ef_construction == 100
    assert settings.log.level == "error"
    assert settings.state.directory == Path("elsewhere")
    assert load_settings(file).profile == "environment"


def test_a_later_layer_replaces_one_key_and_not_its_neighbours(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(file, kafka={"properties": {"sasl.password": SECRET, "security.protocol": "PLAINTEXT"}})
    monkeypatch.setenv("DEDUP_KAFKA__PROPERTIES__SECURITY_PROTOCOL", "SASL_SSL")
    settings = load_settings(file, {"kafka.bootstrap_servers": "b:9092"})
    assert settings.kafka.client_properties == {
        "bootstrap.servers": "b:9092",
        "sasl.password": SECRET,
        "security.protocol": "SASL_SSL",
    }


def test_an_override_of_a_mapping_replaces_it_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEDUP_KAFKA__PROPERTIES__SECURITY_PROTOCOL", "SASL_SSL")
    settings = load_settings(None, {"kafka.properties": {"linger.ms": 5}})
    assert settings.kafka.client_properties == {"bootstrap.servers": "", "linger.ms": "5"}


@pytest.mark.parametrize(
    ("name", "dotted"),
    [("SECURITY_PROTOCOL", "security.protocol"), ("SSL_CA_LOCATION", "ssl.ca.location"), ("ACKS", "acks")],
)
def test_properties_are_written_with_underscores_in_the_environment(
    monkeypatch: pytest.MonkeyPatch, name: str, dotted: str
) -> None:
    monkeypatch.setenv(f"DEDUP_KAFKA__PROPERTIES__{name}", "x")
    assert load_settings().kafka.client_properties[dotted] == "x"


def test_properties_of_any_yaml_type_become_text(file: Path) -> None:
    write(file, kafka={"properties": {"enable.idempotence": True, "linger.ms": 5, "client_id": "a_B"}})
    assert load_settings(file).kafka.client_properties == {
        "bootstrap.servers": "",
        "enable.idempotence": "true",
        "linger.ms": "5",
        "client.id": "a_B",
    }


def test_properties_of_one_kind_of_client_win_over_those_of_all(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(
        file, kafka={"properties": {"linger.ms": 1, "bootstrap.servers": "mine"}, "consumer": {"group.protocol": "x"}}
    )
    monkeypatch.setenv("DEDUP_KAFKA__PRODUCER__LINGER_MS", "9")
    kafka = load_settings(file).kafka
    common = {"bootstrap.servers": "mine", "linger.ms": "1"}
    assert kafka.client_properties == common
    assert kafka.consumer_properties == {**common, "group.protocol": "x"}
    assert kafka.producer_properties == {**common, "linger.ms": "9"}


def test_every_fault_is_reported_at_once_with_its_key(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(file, index={"neighbours": 0}, profil=SECRET, http={"port": 70_000}, redis={"prefix": "no spaces"})
    monkeypatch.setenv("DEDUP_LIMITS__BATCH_RECORDS", SECRET)
    said = fault(file, {"log.level": SECRET})
    assert said.startswith("settings:\n")
    for key in ("index.neighbours", "profil", "http.port", "redis.prefix", "limits.batch_records", "log.level"):
        assert said.count(f"\n  {key}: ") == 1, said
    assert len(said.splitlines()) == 7


@pytest.mark.parametrize("tree", [{"nope": 1}, {"kafka": {"nope": 1}}, {"index": {"M": 1}}])
def test_unknown_keys_are_refused(file: Path, tree: dict[str, object]) -> None:
    assert "there is no such name here" in fault(write(file, **tree))


def test_an_unknown_key_of_a_section_is_refused_in_the_environment_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEDUP_KAFKA__BOOTSTRAP_SERVER", "x")
    assert "  kafka.bootstrap_server: there is no such name here; is bootstrap_servers meant?" in fault()


def test_a_value_where_a_section_belongs_is_told_in_words_of_the_file(file: Path) -> None:
    assert fault(write(file, kafka=3)) == "settings:\n  kafka: a mapping of names to values is wanted"


def test_no_number_is_larger_than_what_counts_with_it() -> None:
    numbers = [
        f"{section}.{name}"
        for section, field in Settings.model_fields.items()
        for name, inner in getattr(field.annotation, "model_fields", {}).items()
        if inner.annotation in {int, float}
    ]
    assert len(numbers) > 20
    for name in numbers:
        assert f"\n  {name}: Input should be less than or equal to" in fault(None, {name: 10**20}), name


def test_what_an_orchestrator_puts_into_the_environment_is_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    # a Kubernetes service named `dedup` gives every pod such variables
    monkeypatch.setenv("DEDUP_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("DEDUP_PORT_9464_TCP", "tcp://10.0.0.1:9464")
    monkeypatch.setenv("DEDUP_HTTP_PORT", "tcp://10.0.0.1:9464")  # of one named `dedup-http`
    assert load_settings() == Settings()


def test_a_name_that_would_set_nothing_is_a_fault_like_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEDUP_PRIVACY_KEY", SECRET)
    assert fault() == "settings:\n  DEDUP_PRIVACY_KEY: two underscores separate levels, DEDUP_PRIVACY__KEY"
    monkeypatch.setenv("dedup_topic__create", "false")
    monkeypatch.setenv("DEDUP_HTTP__PORT", "soon")
    assert [line.split(":")[0].strip() for line in fault().splitlines()[1:]] == [
        "http.port",
        "DEDUP_PRIVACY_KEY",
        "dedup_topic__create",
    ]


@pytest.mark.parametrize("name", ["DEDUP_PROFILE__NAME", "DEDUP_PROFLE", "DEDUP_KAFK"])
def test_a_name_beside_a_setting_is_a_fault(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, SECRET)
    assert f"{name}: there is no " in fault()


@pytest.mark.parametrize("name", ["DEDUP_MODELS__PROVIDERS", "DEDUP_KAFKA__PROPERTIES", "DEDUP_KAFKA"])
def test_a_list_or_mapping_that_is_not_json_is_a_fault_and_not_a_crash(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, SECRET)
    said = fault()
    assert said.startswith(f"settings:\n  {name}: lists and mappings are JSON in the environment")


def test_a_list_in_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEDUP_MODELS__PROVIDERS", '["CPUExecutionProvider"]')
    assert load_settings().models.providers == ["CPUExecutionProvider"]


def test_secrets_are_never_printed(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(file, privacy={"key": SECRET}, kafka={"properties": {"sasl.password": SECRET}})
    monkeypatch.setenv("DEDUP_REDIS__URL", f"redis://user:{SECRET}@host/0")
    for settings in (load_settings(file), load_settings(file, {"profile": "x"})):
        for shown in (repr(settings), str(settings), settings.model_dump_json(), str(settings.model_dump())):
            assert SECRET not in shown
        assert settings.redis.url.get_secret_value() == f"redis://user:{SECRET}@host/0"
        assert settings.privacy.key.get_secret_value() == SECRET
        assert settings.kafka.client_properties["sasl.password"] == SECRET


@pytest.mark.parametrize(
    "text",
    [
        'privacy:\n  key: "zanzibar\n',
        "privacy: {key: *zanzibar}",
        "privacy: {key: !zanzibar x}",
        "privacy:\n key: zanzibar\n  x: y: z",
        "zanzibar",
        "- zanzibar",
        "1: zanzibar",
        "privacy: {key: 2025-13-45}",
        "privacy: {key: [zanzibar]}",
        "privacy: zanzibar",
        "kafka: {properties: zanzibar}",
        "kafka: {properties: [zanzibar]}",
        "redis: {url: {zanzibar: 1}}",
        "privacy: {key: \x07}",
    ],
)
def test_a_file_that_cannot_be_read_is_a_fault_that_quotes_nothing(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8")
    fault(file)


def test_a_fault_of_the_file_says_where(file: Path) -> None:
    file.write_text("profile: signup\nprivacy: {key: *zanzibar}\n", encoding="utf-8")
    assert fault(file).endswith("is not YAML at line 2, column 16")


def test_a_name_that_stands_twice_is_a_fault_that_says_where(file: Path) -> None:
    file.write_text("redis: {prefix: a}\nindex: {m: 8}\nredis: {url: zanzibar}\n", encoding="utf-8")
    assert fault(file).endswith("is not YAML at line 3, column 1: this name is given twice")


@pytest.mark.parametrize("number", [".inf", "-.inf", ".nan"])
def test_numbers_are_finite(file: Path, number: str) -> None:
    file.write_text(f"kafka: {{}}\nredis: {{timeout_seconds: {number}}}\n", encoding="utf-8")
    assert "redis.timeout_seconds: " in fault(file)


def test_a_file_that_is_not_there_or_not_text(file: Path) -> None:
    assert "cannot be read" in fault(file)
    assert "cannot be read" in fault(file.parent)
    file.write_bytes(b"\xff\xfe\x00")
    assert "UTF-8" in fault(file)


def test_an_empty_file_says_nothing(file: Path) -> None:
    file.write_text("# nothing yet\n", encoding="utf-8")
    assert load_settings(file) == Settings()


def test_the_tree_cannot_be_changed() -> None:
    settings = load_settings()
    for section, name in ((settings, "profile"), (settings.index, "m")):
        with pytest.raises(ValueError, match="frozen"):
            setattr(section, name, 1)


def test_the_key_is_one_of_32_bytes_that_depends_on_every_letter() -> None:
    keys = [load_settings(None, {"privacy.key": key}).privacy.key_bytes for key in ("a", "A", "a" * 100, "")]
    assert [len(key) for key in keys] == [32] * 4
    assert len(set(keys)) == 4
