"""A change of tags done once more on a caption that somebody else changed meanwhile."""

from __future__ import annotations

from collections.abc import Sequence

from core.dataset.captions import tag_key


def apply_again(old: Sequence[str], new: Sequence[str], theirs: Sequence[str]) -> list[str]:
    """What led from `old` to `new` (tags added, removed, renamed or one moved), done on `theirs`.

    A tag that was renamed keeps the place it has there; one that was put behind another follows it there too.
    """
    old_keys, new_keys = [tag_key(tag) for tag in old], [tag_key(tag) for tag in new]
    removed = set(old_keys) - set(new_keys)
    added = [at for at, key in enumerate(new_keys) if key not in set(old_keys)]
    if not removed and not added:
        moved = _moved(old_keys, new_keys)
        if moved is None:
            return [*theirs] if sorted(old_keys) == sorted(new_keys) else [*dict.fromkeys(theirs)]
        removed, added = {new_keys[moved]}, [moved]
        if not any(tag_key(tag) in removed for tag in theirs):
            return [*theirs]
    elif removed and added:
        place = next((at for at, tag in enumerate(theirs) if tag_key(tag) in removed), len(theirs))
        words = [new[at] for at in added]
        kept = [(at, tag) for at, tag in enumerate(theirs) if tag_key(tag) not in removed]
        merged = [tag for at, tag in kept if at < place] + words + [tag for at, tag in kept if at > place]
        return _once(merged, {new_keys[at] for at in added})
    result = [tag for tag in theirs if tag_key(tag) not in removed]
    for at in added:
        keys = [tag_key(tag) for tag in result]
        if new_keys[at] in keys:
            continue
        if at == 0:
            result.insert(0, new[at])
        elif at < len(new) - 1 and new_keys[at - 1] in keys:
            result.insert(keys.index(new_keys[at - 1]) + 1, new[at])
        else:
            result.append(new[at])
    return result


def _moved(old: Sequence[str], new: Sequence[str]) -> int | None:
    """The place in `new` of the one tag that was moved."""
    first = next((at for at, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), None)
    if first is None or len(old) != len(new):
        return None
    last = max(at for at, (a, b) in enumerate(zip(old, new, strict=True)) if a != b)
    return first if [*old[:first], *old[first:last]] == [*new[:first], *new[first + 1 : last + 1]] else last


def _once(tags: Sequence[str], keys: set[str]) -> list[str]:
    """Without the later ones of the tags that came in."""
    seen: set[str] = set()
    kept = []
    for tag in tags:
        key = tag_key(tag)
        if key in keys and key in seen:
            continue
        seen.add(key)
        kept.append(tag)
    return kept
