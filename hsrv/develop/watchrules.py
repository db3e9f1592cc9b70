"""Which files `hsrv start --reload` watches, and what a change makes stale. Pure.

`WatchRules` defines the root directories (`roots`); a `FolderRules` decides for one directory which files count and
which subdirectories to enter. The caller walks the directories and passes their content: names, and the text of a
.gitignore.

In order of precedence: individually named files count; SKIPPED files and those matching --reload-exclude never count;
files matching .gitignore count only when a --reload-include names their directory; then *.py, --reload-include, and the
project files in the application's directory. All patterns have the syntax of .gitignore.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from functools import cached_property
from pathlib import Path, PurePath
from typing import Final

from pathspec import GitIgnoreSpec

SKIPPED_FOLDERS: Final = frozenset(
    [
        ".git",
        ".hg",
        ".svn",
        ".venv",
        "venv",
        "node_modules",
        "__pycache__",
        ".mypy_cache",
        ".pytest_cache",
        ".ruff_cache",
        ".hypothesis",
        ".tox",
        ".nox",
        "site-packages",
        "dist-packages",
    ]
)
SKIPPED_FILES: Final = re.compile(
    r"""
    .*\.py[co]
    | .*\.sqlite3? | .*-(journal|wal|shm)        # databases: the application writes them
    | 4913 | .*~ | \.\#.* | \#.*\# | .*\.sw[a-z] | .*\.tmp     # temporary files of editors
    """,
    re.VERBOSE | re.DOTALL,
)
ENVIRONMENT_MARK: Final = "pyvenv.cfg"
"""A directory that contains it is a virtual environment (PEP 405), whatever its name."""

GITIGNORE: Final = ".gitignore"
PROJECT_FILES: Final = re.compile(
    r"hsrv\.toml|pyproject\.toml|(uv|poetry|pdm|Pipfile)\.lock|Pipfile|pylock(\..+)?\.toml|requirements.*\.txt"
)
_LIBRARY_FILES: Final = re.compile(r".*\.(py|so|pth)", re.DOTALL)
_INSTALLED: Final = ("site-packages", "dist-packages")


class Stale(Enum):
    """What must be reloaded after a change."""

    CODE = auto()
    """The user's own modules: a new generation with the same libraries is enough."""
    LIBRARIES = auto()
    """A library, pyproject.toml, a lock file, the file of --env-file: everything must be reloaded."""


@dataclass(frozen=True)
class WatchRules:
    """Which files count. All paths are absolute. Raises ValueError for an invalid pattern."""

    app_dir: Path
    include: tuple[str, ...] = ()
    """--reload-include: in addition to *.py."""
    exclude: tuple[str, ...] = ()
    """--reload-exclude."""
    files: tuple[Path, ...] = ()
    """Files that count wherever they are: of --env-file, hsrv.toml, pyproject.toml. They need not exist."""
    packages: tuple[Path, ...] = ()
    """The user's packages outside of app_dir."""
    modules: tuple[Path, ...] = ()
    """The user's modules outside of app_dir that belong to no package. Files beside them don't count."""
    libraries: tuple[Path, ...] = ()
    """Imported libraries: directories or single files. A site-packages directory stands for all that is installed
    there."""

    def __post_init__(self) -> None:
        self._patterns  # noqa: B018  # report an invalid pattern now

    @cached_property
    def _patterns(self) -> "_Patterns":
        named = [pattern for pattern in self.include if _literal_start(pattern)]
        return _Patterns(
            include=_parsed(("*.py", *self.include)),
            named=_parsed(named),
            named_folders=tuple(map(_literal_start, named)),
            exclude=_parsed(self.exclude),
            files=frozenset(map(str, (*self.files, *self.modules))),
        )

    def roots(self) -> list["FolderRules"]:
        """The directories to start from. A nested one comes after its parent."""
        patterns, single = self._patterns, [*self.files, *self.modules]
        own = [FolderRules(str(path), patterns, project=path == self.app_dir) for path in self._own_folders()]
        installed = [path for path in self.libraries if path.name in _INSTALLED]
        single += [path for path in self.libraries if path.suffix in (".py", ".so")]
        folders = [path for path in self.libraries if path not in installed and path not in single]
        return [
            *own,
            *(FolderRules(str(path), patterns, kind=_Kind.LIBRARY) for path in folders),
            *(FolderRules(str(path), patterns, kind=_Kind.INSTALLED) for path in installed),
            *(
                FolderRules(str(folder), patterns, kind=_Kind.SINGLE, names=_names_in(folder, single))
                for folder in dict.fromkeys(path.parent for path in single)
            ),
        ]

    def _own_folders(self) -> list[Path]:
        return list(dict.fromkeys((self.app_dir, *self.packages)))

    def stale(self, changed: Iterable[Path]) -> Stale:
        """What must be reloaded after these changes."""
        return Stale.LIBRARIES if any(map(self._is_below_the_code, changed)) else Stale.CODE

    def _is_below_the_code(self, path: Path) -> bool:
        if path in self.files or (path.parent == self.app_dir and PROJECT_FILES.fullmatch(path.name)):
            return True
        return any(path.is_relative_to(library) for library in self.libraries)

    def without_libraries(self) -> "WatchRules":
        """For systems on which watching is expensive."""
        return replace(self, libraries=())

    def knowing(self, modules: Mapping[str, str | None], standard: Collection[Path] = ()) -> "WatchRules":
        """With the modules that an application has imported: names to files, as in sys.modules. `standard`: the
        directories of the standard library, which doesn't change."""
        packages, single, libraries = set(self.packages), set(self.modules), set(self.libraries)
        for name, file in modules.items():
            path = Path(file) if file else None
            if path is None or not path.is_absolute() or name.partition(".")[0] == "hsrv":
                continue
            if library := _library_of(path):
                libraries |= {library, library.parent}
            elif not any(path.is_relative_to(folder) for folder in (self.app_dir, *standard)):
                package = _package_of(name, path)
                (single if package == path else packages).add(package)
        return replace(
            self,
            packages=tuple(sorted(packages)),
            modules=tuple(sorted(single)),
            libraries=tuple(sorted(libraries)),
        )


def _names_in(folder: Path, paths: Iterable[Path]) -> frozenset[str]:
    return frozenset(path.name for path in paths if path.parent == folder)


def _library_of(path: Path) -> Path | None:
    """The directory or file of an installed library, directly in site-packages."""
    for place, part in enumerate(path.parts[:-1]):
        if part in _INSTALLED:
            return Path(*path.parts[: place + 2])
    return None


def _package_of(name: str, path: Path) -> Path:
    """The directory of a module's outermost package; the module itself if it belongs to none."""
    parts = name.split(".")
    folder = path.parent
    above = len(parts) - (1 if path.stem == "__init__" else 2)
    if above < 0:
        return path
    for _ in range(above):
        folder = folder.parent
    return folder if folder.name == parts[0] else path


# patterns


@dataclass(frozen=True)
class _Patterns:
    """The patterns of the options."""

    include: GitIgnoreSpec
    named: GitIgnoreSpec
    """Patterns of `include` that begin with the name of a directory or file: they override .gitignore."""
    named_folders: tuple[str, ...]
    exclude: GitIgnoreSpec
    files: frozenset[str]

    def leads_to_named(self, relative: str) -> bool:
        """Whether this directory may contain files that `named` matches."""
        return any(
            relative.startswith(folder) or folder.startswith(relative) for folder in self.named_folders
        )


def _parsed(patterns: Iterable[str]) -> GitIgnoreSpec:
    """Raises ValueError."""
    lines = list(patterns)
    for line in lines:
        try:
            parsed = GitIgnoreSpec.from_lines([line])
        except ValueError as error:
            raise ValueError(f"{line!r} is not a valid pattern: {error}") from error
        if all(pattern.include is None for pattern in parsed.patterns):  # empty, "/", a comment
            raise ValueError(f"{line!r} is a pattern that matches nothing")
    return GitIgnoreSpec.from_lines(lines)


def _literal_start(pattern: str) -> str:
    """The part of a pattern before its first wildcard, in whole components: "a/b/". "" when it may match anywhere."""
    if "/" not in pattern.rstrip("/") or pattern.startswith("!"):
        return ""
    parts = pattern.strip("/").split("/")
    plain: list[str] = []
    for part in parts:
        if re.search(r"[*?\[\\]", part):
            break
        plain.append(part)
    return "".join(f"{part}/" for part in plain)


def _gitignored(text: str) -> GitIgnoreSpec:
    """Invalid lines are ignored, as git does."""
    lines = []
    for line in text.splitlines():
        try:
            GitIgnoreSpec.from_lines([line])
        except ValueError:
            continue
        lines.append(line)
    return GitIgnoreSpec.from_lines(lines)


# one folder


class _Kind(Enum):
    OWN = auto()
    LIBRARY = auto()
    """Below the folder of an imported library."""
    INSTALLED = auto()
    """site-packages: installing, upgrading and removing write the RECORD of a distribution at the end."""
    DISTRIBUTION = auto()
    """A .dist-info directory."""
    SINGLE = auto()
    """Only some files in it."""


@dataclass(frozen=True)
class FolderRules:
    """Which files count in one directory."""

    path: str
    _patterns: _Patterns
    kind: _Kind = _Kind.OWN
    project: bool = False
    """Whether it is the application's directory."""
    names: frozenset[str] = frozenset()
    """For SINGLE: all files that count."""
    relative: str = ""
    """From its root, "a/b/"."""
    is_ignored: bool = False
    """Ignored by a .gitignore, but --reload-include names something inside."""
    _gitignores: tuple[tuple[str, GitIgnoreSpec], ...] = field(default=(), repr=False)
    """(directory of the .gitignore with a slash, its patterns), the outermost first."""

    def under(self, folder: str, gitignore: str) -> "FolderRules":
        """With the .gitignore of a directory above this root, unless it ignores the root itself, which was named
        explicitly."""
        spec, prefix = _gitignored(gitignore), _slashed(folder)
        if self.kind is not _Kind.OWN or spec.check_file(_slashed(self.path)[len(prefix) :]).include:
            return self
        return replace(self, _gitignores=(*self._gitignores, (prefix, spec)))

    def opened(self, names: Collection[str], gitignore: str = "") -> "FolderRules | None":
        """With the directory's content. None: nothing in it counts, and it need not be walked."""
        if self.kind is not _Kind.OWN:
            return self
        if self.relative and ENVIRONMENT_MARK in names:
            return None
        if not gitignore:
            return self
        found = (_slashed(self.path), _gitignored(gitignore))
        return replace(self, _gitignores=(*self._gitignores, found))

    def folder(self, name: str) -> "FolderRules | None":
        """The rules of a subdirectory, or None when nothing in it counts."""
        kind = _INSIDE[self.kind]
        if self.kind is _Kind.INSTALLED and not name.endswith(".dist-info"):
            return None
        if kind is None or name in SKIPPED_FOLDERS:
            return None
        relative = f"{self.relative}{name}/"
        ignored = False
        if kind is _Kind.OWN:
            if self._patterns.exclude.check_file(relative).include:
                return None
            ignored = self.is_ignored or self._is_gitignored(f"{name}/")
            if ignored and not self._patterns.leads_to_named(relative):
                return None
        path = f"{_slashed(self.path)}{name}"
        return replace(self, path=path, relative=relative, kind=kind, project=False, is_ignored=ignored)

    def counts(self, name: str) -> bool:
        """Whether the file of this name counts."""
        if f"{_slashed(self.path)}{name}" in self._patterns.files:
            return True
        if self.kind is _Kind.SINGLE:
            return name in self.names
        if self.kind is _Kind.DISTRIBUTION:
            return name == "RECORD"
        if self.kind is not _Kind.OWN:
            return _LIBRARY_FILES.fullmatch(name) is not None
        if SKIPPED_FILES.fullmatch(name):
            return False
        return self._is_wanted(name)

    def _is_wanted(self, name: str) -> bool:
        relative, patterns = f"{self.relative}{name}", self._patterns
        is_project_file = self.project and PROJECT_FILES.fullmatch(name) is not None
        if not is_project_file and not patterns.include.check_file(relative).include:
            return False
        if patterns.exclude.check_file(relative).include:
            return False
        if self.is_ignored or self._is_gitignored(name):
            return bool(patterns.named.check_file(relative).include)
        return True

    def shapes(self, name: str) -> bool:
        """Whether the file of this name determines which files count."""
        return self.kind is _Kind.OWN and name in (GITIGNORE, ENVIRONMENT_MARK)

    def _is_gitignored(self, name: str) -> bool:
        full = f"{_slashed(self.path)}{name}"
        for prefix, spec in reversed(self._gitignores):  # the nearest one with a verdict decides
            verdict = spec.check_file(full[len(prefix) :]).include
            if verdict is not None:
                return verdict
        return False


_INSIDE: Final = {
    _Kind.OWN: _Kind.OWN,
    _Kind.LIBRARY: _Kind.LIBRARY,
    _Kind.INSTALLED: _Kind.DISTRIBUTION,
    _Kind.DISTRIBUTION: None,
    _Kind.SINGLE: None,
}


def _slashed(folder: str) -> str:
    return folder if folder.endswith("/") else f"{folder}/"


def folders_above(path: str) -> Iterator[str]:
    """The parents of a directory, the innermost first."""
    return map(str, PurePath(path).parents)
