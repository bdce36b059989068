"""The tags that may be meant while one is typed: read on a thread, once, for every line in which tags are typed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from core.dataset.completion import Completer, Completion
    from core.dataset.index import Index
    from tui.app import KohyaApp


class Vocabulary:
    """The tags of the open dataset, of the taggers on disk and of the user's own list, in this order."""

    def __init__(self, app: KohyaApp) -> None:
        self._app = app
        self._completer: Completer | None = None
        self._of: tuple[object, object] | None = None
        """Workspace and list of tags of which the sources were read."""
        self._counted: tuple[Index, int] | None = None
        """The index, and its version, of which the dataset's own tags are."""
        self._is_reading = False
        self._then: list[Callable[[], object]] = []
        self.categories: Mapping[str, str] = {}
        """Of every tag that a tagger of this workspace knows, spelled with blanks and with underscores."""

    @property
    def is_ready(self) -> bool:
        """There are answers (they may lack what was typed into captions since)."""
        return self._completer is not None

    def load(self, then: Callable[[], object] | None = None) -> None:
        """Read what changed since the last time, on a thread; `then()` when it is there, at once when nothing did."""
        collection = self._app.collection
        index = collection.index if collection is not None else None
        wanted = (self._app.workspace, self._app.settings.tag_csv)
        is_new = wanted != self._of
        counted = (index, index.version) if index is not None else None
        if not is_new and counted == self._counted:
            if then is not None:
                then()
            return
        if then is not None:
            self._then.append(then)
        if self._is_reading:
            return
        self._is_reading = True
        self._of, self._counted = wanted, counted
        self._app.run_worker(
            lambda: self._read(index, is_new), thread=True, group="vocabulary", exit_on_error=False, name="vocabulary"
        )

    def _read(self, index: Index | None, is_new: bool) -> None:
        from core.dataset.completion import Completer, Source, of_counts
        from core.tagging.vocabulary import read_sources

        workspace, settings = self._app.workspace, self._app.settings
        completer, categories = self._completer, self.categories
        try:
            if is_new or completer is None:
                if workspace is not None and (workspace.own / "scores").is_dir():
                    from core.tagging.scores import tag_categories

                    categories = tag_categories(workspace)
                sources, problems = read_sources(workspace, settings)
                completer = Completer([Source(()), *sources])
                for problem in problems:
                    self._app.call_from_thread(self._app.report, problem)
            if index is not None:
                from core.dataset.tag_columns import IndexedTags

                rows = IndexedTags(index, categories).rows()
                known = {row.tag: row.category for row in rows if row.category is not None}
                completer.replace(0, of_counts({row.tag: row.count for row in rows}, known))
        finally:
            self._app.call_from_thread(self._took, completer, categories)

    def _took(self, completer: Completer | None, categories: Mapping[str, str]) -> None:
        self._completer, self.categories, self._is_reading = completer, categories, False
        waiting, self._then = self._then, []
        for then in waiting:
            then()

    def complete(self, text: str, limit: int, without: Iterable[str] = ()) -> list[Completion]:
        """Up to `limit` tags for what was typed; none while they are read."""
        return self._completer.complete(text, limit, without) if self._completer is not None else []
