"""The tags that may be meant while one is typed: read on a thread, once, for every line in which tags are typed."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from core.dataset.completion import Completer, Completion, Source
    from core.dataset.index import Index
    from core.workspace import Workspace
    from tui.app import KohyaApp


class Vocabulary:
    """The tags of the open dataset, of the taggers on disk and of the user's own list, in this order."""

    def __init__(self, app: KohyaApp) -> None:
        self._app = app
        self._completer: Completer | None = None
        self._lists: Sequence[Source] | None = None
        self._of: tuple[object, object] | None = None
        """Workspace and list of tags of which the sources were read."""
        self._counted: tuple[weakref.ref[Index], int] | None = None
        """The index, and its version, of which the dataset's own tags are."""
        self._is_reading = False
        self._then: list[Callable[[], object]] = []
        self.categories: Mapping[str, str] = {}
        """Of every tag of the dataset that a tagger or a list knows, and of all that were scored here."""

    @property
    def is_ready(self) -> bool:
        """There are answers for what is open (they may lack what was typed into captions since)."""
        collection = self._app.collection
        index = collection.index if collection is not None else None
        return self._completer is not None and (
            index is None or (self._counted is not None and self._counted[0]() is index)
        )

    def load(self, then: Callable[[], object] | None = None) -> None:
        """Read what changed since the last time, on a thread; `then()` when it is there, at once when nothing did."""
        collection = self._app.collection
        index = collection.index if collection is not None else None
        wanted = (self._app.workspace, self._app.settings.tag_csv)
        counted = (weakref.ref(index), index.version) if index is not None else None
        if wanted == self._of and counted == self._counted and not self._is_reading:
            if then is not None:
                then()
            return
        if then is not None:
            self._then.append(then)
        if self._is_reading:
            return
        if wanted != self._of:
            self._lists = None
        self._is_reading = True
        self._of, self._counted = wanted, counted
        self._app.run_worker(
            lambda: self._read(self._app.workspace, counted[0]() if counted is not None else None),
            thread=True,
            group="vocabulary",
            exit_on_error=False,
        )

    def _read(self, workspace: Workspace | None, index: Index | None) -> None:
        from core.dataset.captions import tag_key
        from core.dataset.completion import Completer, Source, of_counts
        from core.tagging.scores import tag_categories
        from core.tagging.vocabulary import read_sources

        completer, categories, lists = self._completer, self.categories, self._lists
        try:
            if lists is None:
                lists, problems = read_sources(workspace, self._app.settings)
                for problem in problems:
                    self._app.call_from_thread(self._app.report, problem)
            own = Source(())
            scored = tag_categories(workspace) if workspace is not None and (workspace.own / "scores").is_dir() else {}
            categories = scored
            if index is not None:
                from core.dataset.tag_columns import IndexedTags

                rows = IndexedTags(index, scored).rows()
                keys = {tag_key(row.tag) for row in rows}
                known: dict[str, str] = {}
                for source in reversed(lists):
                    known |= source.categories(keys)
                categories = known | scored
                of_rows = {row.tag: row.category or known.get(tag_key(row.tag), "") for row in rows}
                own = of_counts(
                    {row.tag: row.count for row in rows}, {tag: word for tag, word in of_rows.items() if word}
                )
            completer = Completer([own, *lists])
        finally:
            self._app.call_from_thread(self._took, completer, lists, categories)

    def _took(self, completer: Completer | None, lists: Sequence[Source] | None, categories: Mapping[str, str]) -> None:
        self._completer, self._lists, self.categories, self._is_reading = completer, lists, categories, False
        if lists is None:  # it failed: the next one tries again
            self._of = None
        waiting, self._then = self._then, []
        for then in waiting:
            then()

    def complete(self, text: str, limit: int, without: Iterable[str] = ()) -> list[Completion]:
        """Up to `limit` tags for what was typed; none while they are read."""
        return self._completer.complete(text, limit, without) if self._completer is not None else []
