"""The registry on real git repositories."""

import os
import shutil
import subprocess
import traceback
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import pytest

from models.git import GitFailed, git
from models.registry import (
    ModelVersion,
    Registry,
    RegistryMoved,
    RegistryState,
    RegistryUnavailable,
    RolloutBlocked,
    Trained,
    VersionUnknown,
)

IDENTITY = ("-c", "user.name=test", "-c", "user.email=test@localhost")


@pytest.fixture
def registry(tmp_path) -> Registry:
    registry = Registry(str(tmp_path / "registry.git"), "repurchase", tmp_path / "mirror.git")
    registry.create()
    return registry


@pytest.fixture
def code(tmp_path) -> Path:
    """A repository with one commit, which stands for every training."""
    folder = tmp_path / "code"
    git("init", "--quiet", str(folder))
    (folder / "dvc.lock").write_text("stages: {}\n")
    git("add", "dvc.lock", folder=folder)
    git(*IDENTITY, "commit", "--quiet", "-m", "Train", folder=folder)
    return folder


def head(code: Path) -> str:
    return git("rev-parse", "HEAD", folder=code).strip()


def trained(bundle="b1", attempt=None, md5="0.dir") -> Trained:
    return Trained(
        bundle_sha256=bundle,
        bundle_md5=md5,
        training_until=date(2026, 3, 31),
        source="generated",
        metrics={"roc_auc": 0.75},
        reason="first – with an umlaut: ü",
        actor="ada",
        token=attempt,
    )


def register(registry: Registry, code: Path, *bundles: str) -> list[ModelVersion]:
    return [registry.register(code, head(code), trained(bundle)) for bundle in bundles]


def test_versions_are_numbered_from_v1_0_0(registry, code):
    register(registry, code, "b1", "b2")
    assert [version.version for version in registry.read().versions] == ["v1.0.0", "v1.1.0"]


def test_the_tenth_training_comes_after_the_ninth(registry, code):
    register(registry, code, *[f"b{number}" for number in range(12)])
    assert registry.read().versions[-1].version == "v1.11.0"
    assert registry.read().versions[-1].bundle_sha256 == "b11"


def test_a_version_reads_back_as_it_was_registered(registry, code):
    [version] = register(registry, code, "b1")
    assert registry.resolve("v1.0.0") == version
    assert version.commit == head(code)
    assert version.reason == "first – with an umlaut: ü"
    assert version.metrics == {"roc_auc": 0.75}


def test_the_registry_holds_the_commit_of_a_version(registry, code):
    [version] = register(registry, code, "b1")
    shutil.rmtree(code)
    assert git("--git-dir", registry.url, "show", f"{version.commit}:dvc.lock") == "stages: {}\n"


def test_a_retry_with_the_same_token_finds_its_version(registry, code):
    first = registry.register(code, head(code), trained("b1", attempt="night-1"))
    assert registry.register(code, head(code), trained("b2", attempt="night-1")) == first
    assert len(registry.read().versions) == 1


def test_the_same_bundle_is_not_a_second_version(registry, code):
    first = registry.register(code, head(code), trained("b1", attempt="night-1"))
    assert registry.register(code, head(code), trained("b1", attempt="night-2")) == first


def test_trainings_without_a_token_are_different_trainings(registry, code):
    register(registry, code, "b1", "b2")
    assert len(registry.read().versions) == 2


def test_before_the_first_promotion_there_is_no_champion(registry, code):
    register(registry, code, "b1")
    with pytest.raises(VersionUnknown, match=r"v1\.0\.0.*promote_model"):
        registry.resolve("champion")


def test_an_unknown_version_is_refused_with_those_there_are(registry, code):
    register(registry, code, "b1")
    with pytest.raises(VersionUnknown, match=r"'v7\.0\.0', only \['v1\.0\.0'\]"):
        registry.resolve("v7.0.0")
    with pytest.raises(VersionUnknown):
        registry.promote("v7.0.0", actor="ada", reason="typo")


def test_the_last_promotion_counts(registry, code):
    register(registry, code, "b1", "b2")
    for version in ("v1.0.0", "v1.1.0", "v1.0.0"):
        registry.promote(version, actor="ada", reason="because")
    assert registry.resolve("champion").version == "v1.0.0"
    assert [(p.number, p.version, p.previous) for p in registry.read().promotions] == [
        (1, "v1.0.0", None),
        (2, "v1.1.0", "v1.0.0"),
        (3, "v1.0.0", "v1.1.0"),
    ]


def test_the_tenth_promotion_counts_more_than_the_ninth(registry, code):
    register(registry, code, "b1", "b2")
    for number in range(11):
        registry.promote(f"v1.{number % 2}.0", actor="ada", reason="because")
    assert registry.read().promotions[-1].number == 11
    assert registry.resolve("champion").version == "v1.0.0"


def test_promoting_the_champion_changes_nothing(registry, code):
    register(registry, code, "b1")
    first = registry.promote("v1.0.0", actor="ada", reason="first")
    assert registry.promote("v1.0.0", actor="bob", reason="again") == first
    assert registry.promote("champion", actor="bob", reason="again") == first
    assert registry.read().promotions == (first,)


def clones_of(registry: Registry, tmp_path: Path, count: int) -> list[Registry]:
    """The same registry, as seen from ``count`` machines."""
    return [
        Registry(registry.url, registry.model, tmp_path / f"mirror-{number}.git")
        for number in range(count)
    ]


def test_promotions_at_the_same_time_are_numbered_without_gap(registry, code, tmp_path):
    versions = register(registry, code, *[f"b{number}" for number in range(6)])

    def promote(machine: Registry, version: ModelVersion) -> None:
        machine.promote(version.version, actor="ada", reason="race")

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(promote, clones_of(registry, tmp_path, 6), versions))

    promotions = registry.read().promotions
    assert [promotion.number for promotion in promotions] == [1, 2, 3, 4, 5, 6]
    assert {promotion.version for promotion in promotions} == {v.version for v in versions}
    assert [p.previous for p in promotions] == [None, *[p.version for p in promotions[:-1]]]


def test_trainings_that_end_at_the_same_time_get_different_numbers(registry, code, tmp_path):
    def register_one(machine: Registry, bundle: str) -> str:
        return machine.register(code, head(code), trained(bundle)).version

    with ThreadPoolExecutor(4) as pool:
        made = list(
            pool.map(register_one, clones_of(registry, tmp_path, 4), ["b1", "b2", "b3", "b4"])
        )

    assert sorted(made) == ["v1.0.0", "v1.1.0", "v1.2.0", "v1.3.0"]


def tried(registry: Registry) -> tuple[str, int] | None:
    """Version and percent of the present challenger."""
    challenger = registry.read().challenger
    return challenger and (challenger[0].version, challenger[1])


def try_out(registry: Registry, version="v1.1.0", percent=0, **options):
    return registry.challenge(version, percent, actor="ada", reason="because", **options)


@pytest.fixture
def with_champion(registry, code) -> Registry:
    """v1.0.0 is champion; v1.1.0 and v1.2.0 are registered."""
    register(registry, code, "b1", "b2", "b3")
    registry.promote("v1.0.0", actor="ada", reason="first")
    return registry


def test_a_challenger_moves_by_numbered_tags_that_stay(with_champion):
    assert tried(with_champion) is None
    for percent in (0, 5):
        try_out(with_champion, percent=percent)
        assert tried(with_champion) == ("v1.1.0", percent)
    with_champion.withdraw(actor="bob", reason="it was poisoned")
    assert tried(with_champion) is None

    moves = [
        (move.number, move.version, move.percent, move.previous, move.against)
        for move in with_champion.read().challenges
    ]
    assert moves == [
        (1, "v1.1.0", 0, None, 1),
        (2, "v1.1.0", 5, "v1.1.0", 1),
        (3, None, None, "v1.1.0", 1),
    ]
    assert with_champion.read().challenges[-1].reason == "it was poisoned"
    assert len(with_champion.read().promotions) == 1


def test_moving_a_challenger_to_where_it_is_changes_nothing(with_champion):
    first = try_out(with_champion)
    assert try_out(with_champion) == first
    assert with_champion.read().challenges == (first,)


def test_withdrawing_where_nothing_is_tried_changes_nothing(with_champion):
    assert with_champion.withdraw(actor="ada", reason="to be sure") is None
    assert with_champion.read().challenges == ()


@pytest.mark.parametrize("promoted", ["v1.1.0", "v1.2.0"], ids=["itself", "another"])
def test_any_promotion_ends_what_was_tried(with_champion, promoted):
    try_out(with_champion)
    with_champion.promote(promoted, actor="ada", reason="now")
    assert tried(with_champion) is None
    with_champion.promote("v1.0.0", actor="ada", reason="roll back")
    assert tried(with_champion) is None

    try_out(with_champion, "v1.2.0", percent=5)
    assert tried(with_champion) == ("v1.2.0", 5)
    assert with_champion.read().challenges[-1].previous is None


def test_only_one_version_is_tried_at_a_time_and_never_the_champion(with_champion):
    with pytest.raises(RolloutBlocked, match="is the champion"):
        try_out(with_champion, "v1.0.0")
    try_out(with_champion)
    with pytest.raises(RolloutBlocked, match=r"v1\.1\.0 is being tried .* v1\.2\.0 has to wait"):
        try_out(with_champion, "v1.2.0")


def test_without_a_champion_nothing_can_be_tried(registry, code):
    register(registry, code, "b1")
    with pytest.raises(VersionUnknown, match="promote_model"):
        try_out(registry, "v1.0.0")


def test_who_decided_on_what_no_longer_holds_is_refused(with_champion):
    try_out(with_champion)
    seen = with_champion.read()
    with_champion.withdraw(actor="bob", reason="by hand")
    with pytest.raises(RegistryMoved):
        try_out(with_champion, percent=5, seen=seen)
    with pytest.raises(RegistryMoved):
        with_champion.promote("v1.1.0", actor="ada", reason="all steps done", seen=seen)
    try_out(with_champion)
    with pytest.raises(RegistryMoved):
        with_champion.withdraw(actor="ada", reason="unfit", seen=seen)
    assert tried(with_champion) == ("v1.1.0", 0)


def test_moves_of_a_challenger_at_the_same_time_are_numbered_without_gap(with_champion, tmp_path):
    def move(machine: Registry, percent: int) -> None:
        try_out(machine, percent=percent)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(move, clones_of(with_champion, tmp_path, 4), (0, 5, 20, 50)))

    challenges = with_champion.read().challenges
    assert [challenge.number for challenge in challenges] == [1, 2, 3, 4]
    assert {challenge.percent for challenge in challenges} == {0, 5, 20, 50}


def test_of_two_who_decided_the_same_night_one_moves_the_challenger(with_champion, tmp_path):
    try_out(with_champion)
    seen = with_champion.read()

    def advance(machine: Registry) -> int:
        return try_out(machine, percent=5, seen=seen).number

    with ThreadPoolExecutor(2) as pool:
        numbers = list(pool.map(advance, clones_of(with_champion, tmp_path, 2)))

    assert numbers == [2, 2]
    assert len(with_champion.read().challenges) == 2


def test_rolling_back_twice_goes_back_twice_and_not_to_what_was_left(with_champion):
    for version in ("v1.1.0", "v1.2.0"):
        with_champion.promote(version, actor="ada", reason="better")
    for expected in ("v1.1.0", "v1.0.0"):
        before = with_champion.read().champion_before().version
        assert before == expected
        with_champion.promote(before, actor="ada", reason="roll back")
    with pytest.raises(VersionUnknown, match=r"v1\.0\.0 was the first champion"):
        with_champion.read().champion_before()


def test_a_promotion_recorded_before_there_were_challengers_still_reads(registry, code):
    register(registry, code, "b1")
    message = (
        '{"name": "repurchase", "number": 1, "version": "v1.0.0", "previous": null, '
        '"reason": "first", "actor": "ada", "at": "2026-04-01T12:00:00Z"}'
    )
    git(*IDENTITY, "tag", "-a", "repurchase#champion#1", "-m", message, folder=code)
    git("push", "--quiet", registry.url, "repurchase#champion#1", folder=code)
    assert registry.resolve("champion").version == "v1.0.0"


def test_readers_may_share_one_mirror(registry, code):
    register(registry, code, "b1")
    with ThreadPoolExecutor(4) as pool:
        read = list(pool.map(lambda _: registry.resolve("v1.0.0"), range(8)))
    assert {version.version for version in read} == {"v1.0.0"}


def test_the_mirror_follows_a_registry_that_was_made_anew(registry, code):
    register(registry, code, "old1", "old2")
    shutil.rmtree(registry.url)
    registry.create()
    register(registry, code, "new")
    assert [version.bundle_sha256 for version in registry.read().versions] == ["new"]


def test_making_a_registry_that_is_there_keeps_it(registry, code):
    register(registry, code, "b1")
    registry.create()
    assert len(registry.read().versions) == 1


def test_a_checkout_can_be_the_registry(code, tmp_path):
    registry = Registry(str(code), "repurchase", tmp_path / "mirror.git")
    registry.create()
    register(registry, code, "b1")
    registry.promote("v1.0.0", actor="ada", reason="first")
    assert git("tag", folder=code).split() == ["repurchase#champion#1", "repurchase@v1.0.0"]
    assert not (code / "HEAD").exists()


def test_a_registry_that_does_not_answer_is_named_without_its_password(tmp_path):
    registry = Registry("https://bot:secret@localhost:1/r.git", "repurchase", tmp_path / "mirror")
    with pytest.raises(RegistryUnavailable, match="https://localhost:1") as refusal:
        registry.read()
    assert "secret" not in str(refusal.value)


def test_a_registry_that_cannot_be_written_is_named_without_its_password(
    code, tmp_path, monkeypatch
):
    url = "https://bot:secret@localhost:1/r.git"
    registry = Registry(url, "repurchase", tmp_path / "mirror.git")
    monkeypatch.setattr(Registry, "read", lambda _: RegistryState((), ()))
    with pytest.raises(RegistryUnavailable, match=r"https://localhost:1.*run the job") as refusal:
        register(registry, code, "b1")
    assert "secret" not in "".join(traceback.format_exception(refusal.value))


def test_what_git_says_of_an_address_is_without_its_password(code):
    with pytest.raises(subprocess.CalledProcessError) as refusal:
        git("ls-files", "--error-unmatch", "https://bot:se@cret@localhost/r.git", folder=code)
    assert refusal.value.cmd[-1] == "https://localhost/r.git"
    assert "'https://localhost/r.git' did not match" in refusal.value.stderr


def test_a_registry_that_was_never_made_says_how_to_make_it(tmp_path):
    registry = Registry(str(tmp_path / "none.git"), "repurchase", tmp_path / "mirror.git")
    with pytest.raises(RegistryUnavailable, match="retrain_model"):
        registry.read()


def test_a_tag_made_by_hand_is_named(registry, code):
    register(registry, code, "b1")
    git("push", "--quiet", registry.url, "HEAD:refs/tags/repurchase@v2.0.0", folder=code)
    with pytest.raises(RegistryUnavailable, match=r"repurchase@v2\.0\.0"):
        registry.read()


def test_a_version_copied_to_another_number_is_named(registry, code):
    register(registry, code, "b1")
    tags = [f"refs/tags/repurchase@{version}" for version in ("v1.5.0", "v1.0.0")]
    git("--git-dir", registry.url, "update-ref", *tags)
    with pytest.raises(RegistryUnavailable, match=r"repurchase@v1\.5\.0 .*v1\.0\.0"):
        registry.read()


def test_tags_of_other_models_and_of_people_are_no_concern(registry, code):
    register(registry, code, "b1")
    for tag in ("release-1", "churn@v9.0.0", "churn#champion#1"):
        git("push", "--quiet", registry.url, f"HEAD:refs/tags/{tag}", folder=code)
    assert [version.version for version in registry.read().versions] == ["v1.0.0"]


def test_a_registry_that_takes_no_tags_is_an_error_not_a_loop(registry, code):
    git("--git-dir", registry.url, "config", "transfer.hideRefs", "refs/tags/repurchase@v1.0.0")
    with pytest.raises(RegistryUnavailable, match="deny updating a hidden ref"):
        register(registry, code, "b1")
    assert registry.read().versions == ()


def test_it_needs_no_configuration_of_git_and_is_not_led_astray_by_a_hook(
    registry, code, tmp_path, monkeypatch
):
    monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "nobody"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere.git"))
    register(registry, code, "b1")
    registry.promote("v1.0.0", actor="ada", reason="first")
    assert registry.resolve("champion").version == "v1.0.0"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to somebody else")
def test_a_registry_of_another_owner_is_read_and_written(registry, code):
    subprocess.run(["chown", "-R", "12345:12345", registry.url], check=True)
    register(registry, code, "b1")
    assert registry.resolve("v1.0.0").version == "v1.0.0"


def test_the_commit_of_a_shallow_checkout_can_be_registered(registry, code, tmp_path):
    git(*IDENTITY, "commit", "--quiet", "--allow-empty", "-m", "later", folder=code)
    git("clone", "--quiet", "--depth=1", f"file://{code}", str(tmp_path / "shallow"))
    register(registry, tmp_path / "shallow", "b1")
    registry.promote("v1.0.0", actor="ada", reason="first")
    assert registry.resolve("champion").commit == head(code)


SERVER_HOOKS = ("pre-receive", "update", "post-receive", "post-update", "reference-transaction")


def make_hostile(repository: Path, program: Path) -> None:
    """Let the repository ask for ``program`` wherever it can: hooks, settings, an included file."""
    elsewhere = program.with_name("more-hooks")
    for folder in (repository / "hooks", elsewhere):
        folder.mkdir(exist_ok=True)
        for hook in SERVER_HOOKS:
            (folder / hook).symlink_to(program)
    settings = {
        "core.hooksPath": elsewhere,
        "core.fsmonitor": program,
        "core.sshCommand": program,
        "core.alternateRefsCommand": program,
        "uploadpack.packObjectsHook": program,
        "gc.recentObjectsHook": program,
        "protocol.ext.allow": "always",
        "extensions.partialClone": "origin",
        "remote.origin.promisor": "true",
        "remote.origin.url": f"ext::{program}",
        "remote.origin.uploadpack": program,
        "filter.evil.clean": program,
        "gc.auto": "1",
        "receive.autogc": "true",
    }
    git("--git-dir", str(repository), "config", "core.repositoryFormatVersion", "1")
    for name, value in settings.items():
        git("--git-dir", str(repository), "config", name, str(value))
    included = program.with_name("included.gitconfig")
    included.write_text(f"[core]\n\thooksPath = {elsewhere}\n\tfsmonitor = {program}\n")
    git("--git-dir", str(repository), "config", "include.path", str(included))
    alternate = program.with_name("alternate.git")
    git("init", "--quiet", "--bare", str(alternate))
    alternates = repository / "objects/info/alternates"
    alternates.parent.mkdir(exist_ok=True)
    alternates.write_text(f"{alternate}/objects\n")


def test_a_registry_in_a_folder_runs_nothing_of_its_own_here(registry, code, tmp_path, monkeypatch):
    monkeypatch.setenv("SCORING_WAREHOUSE_URL", "postgresql://me:geheim@host/scores")
    ran, program = tmp_path / "ran", tmp_path / "program"
    program.write_text(f"#!/bin/sh\n(echo $0; env) >> {ran}\n")
    program.chmod(0o755)
    make_hostile(Path(registry.url), program)
    environment = {**os.environ, "GIT_CONFIG_COUNT": "1"}
    environment |= {"GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}
    pushed = ["git", "push", "--quiet", registry.url, "HEAD:refs/tags/of-somebody"]
    subprocess.run(pushed, cwd=code, env=environment, check=True)
    assert "pre-receive" in ran.read_text(), "the registry is not as hostile as it should be"
    ran.unlink()

    register(registry, code, "b1", "b2")
    registry.promote("v1.0.0", actor="ada", reason="first")
    registry.challenge("v1.1.0", 5, actor="ada", reason="better")

    assert registry.resolve("champion").version == "v1.0.0"
    assert not ran.exists()


def test_an_address_that_is_a_program_is_refused(tmp_path):
    ran = tmp_path / "ran"
    registry = Registry(f"ext::touch {ran}", "repurchase", tmp_path / "mirror.git")
    with pytest.raises(RegistryUnavailable, match="transport 'ext' not allowed"):
        registry.read()
    assert not ran.exists()


MIRROR_RUINS = {
    "a cut init": lambda mirror: (mirror / "config").rename(mirror / "config.lock"),
    "a cut fetch": lambda mirror: (mirror / "refs/tags/repurchase@v1.1.0.lock").touch(),
    "a cut packing": lambda mirror: (mirror / "packed-refs.lock").touch(),
    "nothing but a lock": lambda mirror: (
        shutil.rmtree(mirror),
        mirror.mkdir(),
        (mirror / "config.lock").touch(),
    ),
    "an empty tag": lambda mirror: (mirror / "refs/tags/repurchase@v1.0.0").write_text(""),
    "no objects": lambda mirror: shutil.rmtree(mirror / "objects"),
}


@pytest.mark.parametrize("ruin", MIRROR_RUINS.values(), ids=MIRROR_RUINS.keys())
def test_whatever_a_killed_process_left_in_the_mirror_stops_nobody(registry, code, ruin):
    register(registry, code, "b1")
    registry.read()
    ruin(registry.mirror)

    assert [version.version for version in registry.read().versions] == ["v1.0.0"]
    register(registry, code, "b2")
    assert registry.promote("v1.1.0", actor="ada", reason="goes on").number == 1


def test_reading_a_registry_that_has_not_changed_writes_nothing(registry, code):
    register(registry, code, "b1")
    registry.read()
    before = {path: path.stat().st_mtime_ns for path in registry.mirror.rglob("*")}

    registry.read()

    assert {path: path.stat().st_mtime_ns for path in registry.mirror.rglob("*")} == before


def test_making_a_registry_that_a_killed_process_has_begun_names_the_folder(tmp_path):
    begun = tmp_path / "registry.git"
    begun.mkdir()
    (begun / "config.lock").touch()
    with pytest.raises(RegistryUnavailable, match=r"registry\.git is no git repository"):
        Registry(str(begun), "repurchase", tmp_path / "mirror.git").create()


def test_the_lock_of_a_push_that_was_killed_blocks_its_number_for_a_while_only(registry, code):
    register(registry, code, "b1")
    lock = Path(registry.url) / "refs/tags/repurchase#champion#1.lock"
    lock.touch()
    with pytest.raises(RegistryUnavailable, match=r"#1\.lock': File exists[\s\S]* 10 minutes"):
        registry.promote("v1.0.0", actor="ada", reason="first")

    long_ago = lock.stat().st_mtime - 601
    os.utime(lock, (long_ago, long_ago))

    assert registry.promote("v1.0.0", actor="ada", reason="first").number == 1
    assert not lock.exists()


def test_an_error_of_git_says_what_git_said(tmp_path):
    with pytest.raises(GitFailed, match="`git show no-such-thing` failed: fatal: "):
        git("show", "no-such-thing", folder=tmp_path)
