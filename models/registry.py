"""Which model versions there are and which one scores: annotated git tags.

A version is the tag ``repurchase@v1.2.0`` on a commit that holds ``dvc.lock``; a promotion is
the tag ``repurchase#champion#7``, a move of the version tried beside the champion
``repurchase#challenger#4``: numbered, never moved, the highest number counts. Messages are JSON.
Git refuses to push a tag that is there already, so of two writers who want the same number one
wins and the other reads again. The model's bytes lie in the DVC remote: `models/store.py`.
"""

import fcntl
import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from models.git import (
    STALE_AFTER_SECONDS,
    GitFailed,
    absolute,
    git,
    git_folder,
    is_remote,
    remove_stale_locks,
    served_by_us,
    shown,
)
from records import AuditAnchor

CHAMPION = "champion"
CHALLENGER = "challenger"


class RegistryUnavailable(RuntimeError):
    """The registry cannot be read or written, or holds a tag that is not one of ours."""


class VersionUnknown(ValueError):
    """The registry holds no such version, or no champion yet."""


class RolloutBlocked(RuntimeError):
    """The version cannot be tried now: it is the champion, or another one is being tried."""


class RegistryMoved(RuntimeError):
    """Somebody else moved the champion or the challenger since the caller looked."""


class _Record(BaseModel):
    """What a tag says; ``audit`` is the warehouse's audit log as it was when it was written."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    audit: AuditAnchor | None = None


class Trained(_Record):
    """What a training leaves behind.

    ``bundle_sha256`` is of the bundle's bytes; ``bundle_md5`` is its address in the DVC remote.
    ``training_until`` is the last score date that training looked at. ``token`` names the attempt,
    so that its retry finds what it made. ``asked_at`` is when it was asked for, in UTC; null where
    that was not said.
    """

    bundle_sha256: str
    bundle_md5: str
    training_until: date
    source: str
    metrics: dict
    reason: str
    actor: str
    token: str | None
    asked_at: datetime | None = None


class ModelVersion(Trained):
    """A registered model; ``commit`` holds the code, the parameters and the ``dvc.lock``."""

    name: str
    version: str = Field(pattern=r"^v\d+\.\d+\.\d+$")
    commit: str


class Promotion(_Record):
    """One move of the champion; ``previous`` is null for the first. ``at`` is when, in UTC.

    ``token`` names the run that decided it, so that its retry finds what it did; null otherwise.
    """

    name: str
    number: int
    version: str
    previous: str | None
    reason: str
    actor: str
    at: datetime
    token: str | None = None


class Challenge(_Record):
    """One move of the challenger: ``version`` takes ``percent`` of the customers, 0 in shadow.

    Both are null when the challenger was withdrawn. ``against`` is the number of the promotion
    that made the champion it was tried beside: a later promotion ends it. ``previous`` is the
    challenger before, null if there was none. ``token`` is as in a promotion.
    """

    name: str
    number: int
    version: str | None
    percent: int | None = Field(ge=0, le=100)
    against: int
    previous: str | None
    reason: str
    actor: str
    at: datetime
    token: str | None = None


@dataclass(frozen=True, slots=True)
class RegistryState:
    """What the registry held when it was read: versions by number, moves in order."""

    versions: tuple[ModelVersion, ...]
    promotions: tuple[Promotion, ...]
    challenges: tuple[Challenge, ...] = ()

    @property
    def challenge(self) -> Challenge | None:
        """The move that put the present challenger where it is; None if there is no challenger."""
        latest = self.challenges[-1] if self.challenges else None
        if latest is None or latest.version is None:
            return None
        # A promotion, or a roll-back of the champion, ends what was tried beside the one before.
        return latest if latest.against == self.promotions[-1].number else None

    @property
    def challenger(self) -> tuple[ModelVersion, int] | None:
        """The version tried beside the champion and its percent of customers; None if none is."""
        move = self.challenge
        if move is None or move.version is None or move.percent is None:
            return None
        return self.resolve(move.version), move.percent

    def champion_before(self) -> ModelVersion:
        """The champion that the present one first took over from.

        Rolling back twice therefore goes back twice, and never to a version that was left.

        Raises:
            VersionUnknown: If there was none before.
        """
        present = self.resolve(CHAMPION).version
        first = next(move for move in self.promotions if move.version == present)
        if first.previous is None:
            raise VersionUnknown(
                f"{present} was the first champion, so there is none to go back to. Name a "
                "version: python -m jobs.roll_back_model --version v1.0.0 --reason '...'"
            )
        return self.resolve(first.previous)

    def anchors(self) -> dict[str, AuditAnchor]:
        """The copies of the warehouse's audit log that the tags keep, by where each is."""
        named = (
            *((f"version {each.version}", each.name, each.audit) for each in self.versions),
            *((f"promotion {each.number}", each.name, each.audit) for each in self.promotions),
            *((f"challenge {each.number}", each.name, each.audit) for each in self.challenges),
        )
        return {
            f"{where} of {name} in the registry": audit for where, name, audit in named if audit
        }

    @property
    def champion(self) -> str | None:
        """The version that is champion, if there is one."""
        return self.promotions[-1].version if self.promotions else None

    def resolve(self, wanted: str) -> ModelVersion:
        """The version called ``wanted`` (``v1.2.0``), or the present ``champion``.

        Raises:
            VersionUnknown: If there is none; names those there are.
        """
        known = {version.version: version for version in self.versions}
        if wanted == CHAMPION:
            if self.champion is None:
                first = (
                    "Promote one: python -m jobs.promote_model --version "
                    f"{self.versions[-1].version} --reason '...'"
                    if known
                    else "Train one: python -m jobs.retrain_model --until DAY --reason "
                    "'first model' --promote-first"
                )
                raise VersionUnknown(
                    f"no model is champion yet; registered are {sorted(known) or 'none'}. {first}"
                )
            wanted = self.champion
        if wanted not in known:
            raise VersionUnknown(
                f"the registry has no version {wanted!r}, only {sorted(known) or 'none'}"
            )
        return known[wanted]


@dataclass(frozen=True, slots=True)
class Registry:
    """The tags of one model in the git repository at ``url`` (a path, or any address git takes).

    ``mirror`` is a folder of our own that the tags are fetched to; it may be deleted at any time.
    A registry in a folder is served without its hooks and the programs in its configuration.
    ``audit_head`` gives the newest line of the warehouse's audit log, of which each new tag keeps a
    copy.
    """

    url: str
    model: str
    mirror: Path
    audit_head: Callable[[], AuditAnchor | None] = lambda: None

    def create(self) -> None:
        """Make an empty bare repository if ``url`` is a path with none; else do nothing."""
        if not is_remote(self.url) and not _is_repository(Path(self.url)):
            _make_repository(Path(absolute(self.url)))

    def read(self) -> RegistryState:
        """All versions and promotions, as the registry holds them now.

        Raises:
            RegistryUnavailable: If it does not answer, or the message of a tag cannot be read.
        """
        versions, promotions, challenges = [], [], []
        record: ModelVersion | Promotion | Challenge
        for tag, commit, message in self._tags():
            try:
                if tag.startswith(f"{self.model}@"):
                    version = ModelVersion.model_validate(json.loads(message) | {"commit": commit})
                    named, record = self._version_tag(version.version), version
                    versions.append(version)
                elif tag.startswith(f"{self.model}#{CHALLENGER}#"):
                    challenge = Challenge.model_validate_json(message)
                    named, record = self._challenge_tag(challenge.number), challenge
                    challenges.append(challenge)
                else:
                    promotion = Promotion.model_validate_json(message)
                    named, record = self._promotion_tag(promotion.number), promotion
                    promotions.append(promotion)
                if (named, record.name) != (tag, self.model):
                    raise ValueError(f"its message is that of {named}")
            except (TypeError, ValueError) as error:
                raise RegistryUnavailable(
                    f"tag {tag} in {shown(self.url)} is not one that registering or promoting "
                    f"makes: {error}. Delete it there: git push <registry> :refs/tags/{tag}"
                ) from error
        return RegistryState(
            versions=tuple(sorted(versions, key=lambda version: _numbers(version.version))),
            promotions=tuple(sorted(promotions, key=lambda promotion: promotion.number)),
            challenges=tuple(sorted(challenges, key=lambda challenge: challenge.number)),
        )

    def resolve(self, wanted: str) -> ModelVersion:
        """As :meth:`RegistryState.resolve`, of the registry as it is now."""
        return self.read().resolve(wanted)

    def register(self, repository: Path, commit: str, trained: Trained) -> ModelVersion:
        """The version of that training, made if there is none: the next minor number.

        Pushing the tag is all there is to it, so a version is there whole or not at all. A
        training with the same token, or that gave the same bundle, has its version already.

        Args:
            repository: A git repository that has ``commit``.
            commit: Holds the ``dvc.lock`` that gave the bundle, which is in the DVC remote.
        """
        while True:
            versions = self.read().versions
            for version in versions:
                if version.bundle_sha256 == trained.bundle_sha256 or (
                    trained.token is not None and version.token == trained.token
                ):
                    return version
            major, minor, _ = _numbers(versions[-1].version) if versions else (1, -1, 0)
            version = ModelVersion(
                name=self.model,
                version=f"v{major}.{minor + 1}.0",
                commit=commit,
                **trained.model_dump(exclude={"audit"}),
                audit=self.audit_head(),
            )
            if self._push(repository, commit, self._version_tag(version.version), version):
                return version

    def promote(
        self,
        version: str,
        *,
        actor: str,
        reason: str,
        seen: RegistryState | None = None,
        token: str | None = None,
    ) -> Promotion:
        """Make ``version`` the champion; nothing happens if it is. A challenger's trial ends.

        Args:
            version: The version, or ``champion``.
            actor: Who asks for it.
            reason: Why.
            seen: What the decision rests on; if anything was moved since, nothing happens.
            token: Of the run that decided it.

        Returns:
            The promotion that made it champion: the new one, or the one that stands.

        Raises:
            VersionUnknown: If there is no such version.
            RegistryMoved: If it is not as ``seen`` any more.
        """
        while True:
            state = self.read()
            promoted = state.resolve(version)
            latest = state.promotions[-1] if state.promotions else None
            if latest is not None and latest.version == promoted.version:
                return latest
            _check_unmoved(seen, state)
            promotion = Promotion(
                name=self.model,
                number=latest.number + 1 if latest else 1,
                version=promoted.version,
                previous=latest.version if latest else None,
                reason=reason,
                actor=actor,
                at=datetime.now(UTC),
                token=token,
                audit=self.audit_head(),
            )
            tag = self._promotion_tag(promotion.number)
            if self._push(self.mirror, promoted.commit, tag, promotion):
                return promotion

    def challenge(
        self,
        version: str,
        percent: int,
        *,
        actor: str,
        reason: str,
        seen: RegistryState | None = None,
        token: str | None = None,
    ) -> Challenge:
        """Let ``version`` be tried on ``percent`` of the customers; 0 is shadow.

        Nothing happens if it is. The other arguments are as for :meth:`promote`.

        Returns:
            The move that put it there: the new one, or the one that stands.

        Raises:
            VersionUnknown: If there is no such version, or no champion to try it beside.
            RolloutBlocked: If it is the champion, or another version is being tried.
            RegistryMoved: If it is not as ``seen`` any more.
        """
        while True:
            state = self.read()
            champion, wanted = state.resolve(CHAMPION), state.resolve(version)
            present = state.challenge
            if present and (present.version, present.percent) == (wanted.version, percent):
                return present
            _check_unmoved(seen, state)
            if wanted.version == champion.version:
                raise RolloutBlocked(f"{wanted.version} is the champion and scores everybody")
            if present and present.version != wanted.version:
                raise RolloutBlocked(
                    f"{present.version} is being tried on {present.percent} % of the customers; "
                    f"{wanted.version} has to wait. Let that end, or withdraw it: "
                    "python -m jobs.start_rollout --withdraw --reason '...'"
                )
            challenge = Challenge(
                name=self.model,
                number=state.challenges[-1].number + 1 if state.challenges else 1,
                version=wanted.version,
                percent=percent,
                against=state.promotions[-1].number,
                previous=present.version if present else None,
                reason=reason,
                actor=actor,
                at=datetime.now(UTC),
                token=token,
                audit=self.audit_head(),
            )
            tag = self._challenge_tag(challenge.number)
            if self._push(self.mirror, wanted.commit, tag, challenge):
                return challenge

    def withdraw(
        self,
        *,
        actor: str,
        reason: str,
        seen: RegistryState | None = None,
        token: str | None = None,
    ) -> Challenge | None:
        """Stop trying the present challenger; the champion scores everybody again.

        The arguments are as for :meth:`promote`.

        Returns:
            The move that withdrew it; None if nothing was being tried.

        Raises:
            RegistryMoved: If it is not as ``seen`` any more.
        """
        while True:
            state = self.read()
            if state.challenger is None:
                return None
            _check_unmoved(seen, state)
            version, _ = state.challenger
            challenge = Challenge(
                name=self.model,
                number=state.challenges[-1].number + 1 if state.challenges else 1,
                version=None,
                percent=None,
                against=state.promotions[-1].number,
                previous=version.version,
                reason=reason,
                actor=actor,
                at=datetime.now(UTC),
                token=token,
                audit=self.audit_head(),
            )
            tag = self._challenge_tag(challenge.number)
            if self._push(self.mirror, version.commit, tag, challenge):
                return challenge

    def _push(self, repository: Path, commit: str, tag: str, record: _Record) -> bool:
        """Create the tag in the registry; false if somebody else has created it before us."""
        message = record.model_dump(mode="json", exclude={"commit"})
        body = json.dumps(message, indent=2, sort_keys=True, ensure_ascii=False)
        seconds = int(datetime.now(UTC).timestamp())
        content = (
            f"object {commit}\ntype commit\ntag {tag}\n"
            f"tagger {self.model} <{self.model}@localhost> {seconds} +0000\n\n{body}\n"
        )
        made = git("mktag", folder=repository, stdin=content).strip()
        if not is_remote(self.url):
            remove_stale_locks(Path(self.url))
        try:
            git(
                *("push", "--quiet", *served_by_us(self.url, "receive-pack")),
                *(absolute(self.url), f"{made}:refs/tags/{tag}"),
                folder=repository,
            )
        except GitFailed as error:
            if self._holds(tag):
                return False
            is_locked = ".lock': File exists" in error.stderr
            advice = (
                "Somebody else writes there, or was killed while writing. Run the job again after "
                f"{STALE_AFTER_SECONDS // 60} minutes: in a folder of this machine it then removes "
                "the lock. On a host, remove it there."
                if is_locked
                else "Mend the access and run the job again; should the tag have arrived after "
                "all, the job will find it."
            )
            raise RegistryUnavailable(
                f"cannot push {tag} to {shown(self.url)}: {error.stderr.strip()}. {advice}"
            ) from None
        return True

    def _holds(self, tag: str) -> bool:
        """Whether the registry has the tag; false if it does not answer."""
        try:
            return self._listed(f"refs/tags/{tag}") != {}
        except GitFailed:
            return False

    def _listed(self, *refs: str) -> dict[str, str]:
        """The object of each ref that the registry has; it only reads."""
        service = served_by_us(self.url, "upload-pack")
        return _by_name(git("ls-remote", "--refs", *service, absolute(self.url), *refs))

    def _tags(self) -> list[tuple[str, str, str]]:
        """Name, commit and message of each tag of the model."""
        refs = [
            f"refs/tags/{self.model}@v*",
            *(f"refs/tags/{self.model}#{stage}#*" for stage in (CHAMPION, CHALLENGER)),
        ]
        self.mirror.parent.mkdir(parents=True, exist_ok=True)
        with self.mirror.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._follow(refs, lock.fileno())
            form = "--format=%(refname:strip=2)%00%(*objectname)%00%(contents)%00"
            listed = git("--git-dir", str(self.mirror), "for-each-ref", form, *refs)
        fields = listed.split("\0")[:-1]
        names, commits, messages = fields[0::3], fields[1::3], fields[2::3]
        return [
            (name.strip(), commit, message)
            for name, commit, message in zip(names, commits, messages, strict=True)
        ]

    def _follow(self, refs: list[str], lock: int) -> None:
        """Bring the mirror up to the registry; nothing is written when it is.

        Whatever a killed process left in the mirror is mended, at worst by making it again.

        Args:
            refs: Patterns of the tags.
            lock: Of the mirror; git holds it too, so that nobody else comes in before git ends.
        """
        try:
            theirs = self._listed(*refs)
        except GitFailed as error:
            raise RegistryUnavailable(
                f"cannot read the model registry {shown(self.url)}: {error.stderr.strip()}. "
                "If no model was ever trained, train one: python -m jobs.retrain_model --help. "
                "Else see to its host, or set SCORING_REGISTRY_URL."
            ) from None
        try:
            if _tags_in(self.mirror, refs) == theirs:
                return
            # Nobody else is here while we hold the lock.
            remove_stale_locks(self.mirror, older_than=0)
            self._fetch(refs, lock)
        except GitFailed:
            shutil.rmtree(self.mirror, ignore_errors=True)
            try:
                _make_repository(self.mirror)
                self._fetch(refs, lock)
            except GitFailed as error:
                raise RegistryUnavailable(
                    f"the model registry {shown(self.url)} cannot be copied to {self.mirror}: "
                    f"{error.stderr.strip()}. See that the disk has room; run the job again."
                ) from None

    def _fetch(self, refs: list[str], lock: int) -> None:
        git(
            *("--git-dir", str(self.mirror)),
            *("fetch", "--quiet", "--prune", "--no-tags", "--update-shallow"),
            *served_by_us(self.url, "upload-pack"),
            *(absolute(self.url), *[f"+{ref}:{ref}" for ref in refs]),
            keep_open=[lock],
        )

    def _version_tag(self, version: str) -> str:
        return f"{self.model}@{version}"

    def _promotion_tag(self, number: int) -> str:
        return f"{self.model}#{CHAMPION}#{number}"

    def _challenge_tag(self, number: int) -> str:
        return f"{self.model}#{CHALLENGER}#{number}"


def _check_unmoved(seen: RegistryState | None, state: RegistryState) -> None:
    if seen is not None and (
        (seen.promotions, seen.challenges) != (state.promotions, state.challenges)
    ):
        raise RegistryMoved(
            "the champion or the challenger was moved in the meantime, so nothing was done. Run "
            "the job again: it decides by what holds now."
        )


def _tags_in(repository: Path, refs: list[str]) -> dict[str, str]:
    """The object of each of those refs in a repository on this machine."""
    form = "--format=%(objectname)%09%(refname)"
    return _by_name(git("--git-dir", str(repository), "for-each-ref", form, *refs))


def _by_name(listing: str) -> dict[str, str]:
    return {name: sha for sha, name in (line.split("\t") for line in listing.splitlines())}


def _is_repository(folder: Path) -> bool:
    """Whether git finds a whole repository in that folder, and not in one above it."""
    try:
        git("--git-dir", str(git_folder(folder)), "rev-parse", "--git-dir")
    except GitFailed:
        return False
    return True


def _make_repository(folder: Path) -> None:
    """Make an empty bare repository, whole or not at all, and without anybody's hooks."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as workspace:
        fresh = Path(workspace) / "fresh.git"
        git("init", "--quiet", "--bare", "--template=", str(fresh))
        try:
            fresh.rename(folder)
        except OSError:
            if not _is_repository(folder):
                raise RegistryUnavailable(
                    f"{folder} is no git repository and is not empty: a process was killed while "
                    "it made one, or it is something else. Move it away and run the job again."
                ) from None


def _numbers(version: str) -> tuple[int, int, int]:
    """``v1.2.0`` as numbers, for ordering.

    >>> _numbers("v1.12.0") > _numbers("v1.2.0")
    True
    """
    major, minor, patch = map(int, version.removeprefix("v").split("."))
    return major, minor, patch
