"""What the user names (ids, patterns, folders, modules) becomes a list of pinned Candidates.

timm is imported only when a name has to be looked up in its registry, huggingface_hub only when one is
on the Hub.
"""

from __future__ import annotations

import dataclasses
import difflib
import fnmatch
from collections.abc import Iterable, Iterator
from pathlib import Path

from torch import nn

from fms_hub.errors import CandidateError, HubError
from fms_hub.models import bundle, folder, own_module, remote
from fms_hub.records import Candidate

Item = str | Path | nn.Module | Candidate

_WILDCARDS = frozenset("*?[")


def resolve(candidates: Item | Iterable[Item] | None) -> tuple[Candidate, ...]:
    """Turn what names candidates into Candidates: in order, each once, Hub repositories pinned to a commit.

    * ``None``: the bundled checkpoints
    * ``"timm/resnet18.a1_in1k"``, ``"resnet18"``: timm's pretrained weights; without a tag, timm's default
    * ``"timm/*tiny*"``: all pretrained weights of timm that match
    * ``"org/name"``, ``"org/name@revision"``: an image classifier on the Hub, of timm or transformers
    * ``"hf-hub:org/name@revision"``: the same in timm's spelling
    * ``"local-dir:PATH"``, a ``Path`` or an existing folder: config.json and safetensors, of either library
    * ``"bundled/NAME"``, ``"bundled/*"``: bundled checkpoints
    * ``"scratch:ARCHITECTURE"``: a timm architecture, randomly initialised
    * an ``nn.Module``: the module with its present weights

    Raises:
        CandidateError: a name is unknown (the nearest are suggested), a checkpoint is unreadable, or nothing
            is left.
        HubError: the Hub refused, or cannot be reached and the revision was never seen on this machine.
    """
    found = [candidate for item in _items(candidates) for candidate in _resolve(item)]
    unique = tuple(_named_apart(_without_doubles(found)))
    if not unique:
        raise CandidateError("expected at least one candidate, found none. Try 'bundled/*' or 'resnet18'.")
    return unique


def bundled(root: Path = bundle.ROOT) -> tuple[Candidate, ...]:
    """The checkpoints that come with the package; they need no network.

    Raises:
        CandidateError: there are none.
    """
    return tuple(
        Candidate(
            name=entry.name,
            source="folder",
            architecture=entry.architecture,
            location=str((root / entry.file).parent),
            fingerprint=entry.sha256,
        )
        for entry in bundle.read_index(root)
    )


def _items(candidates: Item | Iterable[Item] | None) -> tuple[Item, ...]:
    if candidates is None:
        return ("bundled/*",)
    if isinstance(candidates, (str, Path, nn.Module, Candidate)):  # a module may be iterable itself
        return (candidates,)
    return tuple(candidates)


def _resolve(item: Item) -> tuple[Candidate, ...]:
    match item:
        case Candidate():
            return (item,)
        case nn.Module():
            name = type(item).__name__
            return (Candidate(name, "module", name, fingerprint=own_module.fingerprint(item), module=item),)
        case Path():
            return (_from_folder(str(item)),)
        case str():
            return _from_text(item.strip())
        case _:
            raise CandidateError(
                f"a candidate is a name, a folder, an nn.Module or a Candidate; found {type(item).__name__}."
            )


def _from_text(text: str) -> tuple[Candidate, ...]:
    scheme, _, rest = text.partition(":")
    if scheme == "scratch":
        return (_from_scratch(rest),)
    if scheme == "local-dir":
        return (_from_folder(rest),)
    if scheme == "hf-hub":
        return (_from_timm(rest) or _from_hub(rest),)
    if text.startswith("bundled/"):
        return _from_bundle(text)
    if text.startswith((".", "/", "~")):
        return (_from_folder(text),)
    if _WILDCARDS & set(text):
        return _from_pattern(text)
    known = _from_timm(text)
    if known is not None:
        return (known,)
    if text and Path(text).is_dir():
        return (_from_folder(text),)
    if text.count("/") == 1 and not (text.startswith("timm/") and "@" not in text):
        return (_from_hub(text),)
    raise CandidateError(f"there is no candidate {text!r}.{_nearest(text)}")


def _from_bundle(pattern: str) -> tuple[Candidate, ...]:
    matching = tuple(item for item in bundled() if fnmatch.fnmatchcase(item.name, pattern))
    if not matching:
        raise CandidateError(f"there is no bundled checkpoint {pattern!r}.{_nearest(pattern)}")
    return matching


def _from_scratch(architecture: str) -> Candidate:
    from fms_hub.models import from_timm

    if not from_timm.is_architecture(architecture):
        near = _suggest(architecture, from_timm.architectures(), "scratch:")
        raise CandidateError(f"timm has no architecture {architecture!r}.{near}")
    name = f"scratch:{architecture}"
    return Candidate(name, "scratch", architecture, fingerprint=name)


def _from_folder(text: str) -> Candidate:
    opened = folder.open_folder(Path(text))
    return Candidate(
        name=f"local-dir:{text.removesuffix('/')}",
        source="folder",
        architecture=opened.architecture,
        location=str(opened.path),
        fingerprint=folder.fingerprint(opened),
    )


def _from_timm(name: str) -> Candidate | None:
    """The checkpoint of this name in timm's registry, pinned; None if timm has none of the name."""
    from fms_hub.models import from_timm

    bare = name.removeprefix("timm/")
    entry = from_timm.checkpoint(bare)
    if entry is not None:
        return _pin_timm(entry.name, entry.architecture, entry.repo)
    if from_timm.is_architecture(bare):
        raise CandidateError(
            f"timm has no pretrained weights for {bare!r}. 'scratch:{bare}' starts it at random."
        )
    return None


def _from_pattern(pattern: str) -> tuple[Candidate, ...]:
    from fms_hub.models import from_timm

    entries = from_timm.checkpoints(pattern.removeprefix("timm/"))
    if not entries:
        raise CandidateError(
            f"no pretrained weights of timm match {pattern!r}. Patterns work over timm's list and bundled/; "
            "name Hugging Face repositories one by one."
        )
    return tuple(_pin_timm(entry.name, entry.architecture, entry.repo) for entry in entries)


def _pin_timm(name: str, architecture: str, repo: str | None) -> Candidate:
    if repo is None:
        raise CandidateError(
            f"timm has the weights of {name!r} only as a pickled file outside the Hub, which is never opened "
            "(unpickling runs code). Choose another tag, or convert it and name the folder as local-dir:PATH."
        )
    from fms_hub.hub import client

    commit = client.resolve_revision(repo)
    return Candidate(f"timm/{name}", "timm", architecture, repo, commit, commit)


def _from_hub(text: str) -> Candidate:
    repo, _, revision = text.partition("@")
    from fms_hub.hub import client

    try:
        commit = client.resolve_revision(repo, revision or None)
        config = remote.fetch_config(repo, commit)
    except HubError as error:
        raise HubError(f"{error}{_nearest(text, cutoff=0.8)}") from error
    layout, architecture = folder.identify(folder.read_json(config), repo)
    return Candidate(text, layout, architecture, repo, commit, commit)


def _without_doubles(candidates: Iterable[Candidate]) -> Iterator[Candidate]:
    seen = set()
    for item in candidates:
        key = (item.source, item.architecture, item.location, item.revision, item.fingerprint)
        if key not in seen:
            seen.add(key)
            yield item


def _named_apart(candidates: Iterable[Candidate]) -> Iterator[Candidate]:
    """Number modules of the same class from the second on; other names must differ by themselves."""
    taken: set[str] = set()
    for item in candidates:
        name, number = item.name, 2
        while name in taken:
            if item.source != "module":
                raise CandidateError(
                    f"two different candidates are both named {name!r}. Name each by itself."
                )
            name, number = f"{item.name}-{number}", number + 1
        taken.add(name)
        yield item if name == item.name else dataclasses.replace(item, name=name)


def _nearest(text: str, cutoff: float = 0.5) -> str:
    """The known names closest to `text`, as the end of a message."""
    from fms_hub.models import from_timm

    names = [f"timm/{entry.name}" for entry in from_timm.checkpoints()]
    names += [entry.name for entry in bundle.read_index()] if (bundle.ROOT / bundle.INDEX).is_file() else []
    if "/" not in text:
        names = [name.partition("/")[2] for name in names] + from_timm.architectures()
    return _suggest(text, names, "", cutoff)


def _suggest(text: str, names: list[str], prefix: str, cutoff: float = 0.5) -> str:
    near = difflib.get_close_matches(text, names, n=3, cutoff=cutoff)
    return f" Did you mean {', '.join(prefix + name for name in near)}?" if near else ""
