"""Where keys stand in a tomlkit document, and where a new one belongs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from core.config.values import toml_item
from core.problems import UserError

if TYPE_CHECKING:
    from tomlkit.container import Container


def item_at(tables: Any, index: int) -> Any:
    """The table at `index` of an array of tables; None when there is none."""
    return tables[index] if isinstance(tables, list) and index < len(tables) else None


def nth_table(parent: Any, name: str, index: int) -> Container:
    """The container of table `index` of the array `name`; one behind the last is made. UserError when it cannot be."""
    import tomlkit

    tables = parent.get(name)
    if tables is not None and not isinstance(tables, list):
        raise UserError(f"{name} is not a list of tables", f"Write [[{name}]], in the raw editor.")
    if tables is None:
        tables = tomlkit.aot()
        parent.append(name, tables)
        tables = parent[name]
    if index == len(tables):
        tables.append(tomlkit.table())
    if index >= len(tables):
        raise UserError(f"There is no {name}[{index}]", f"The file has {len(tables)} of them, counted from 0.")
    if not isinstance(tables[index], dict):
        raise UserError(f"{name}[{index}] is not a table", "Correct it in the raw editor.")
    found: Container = container_of(tables[index])
    return found


def sections(document: Any) -> list[Any]:
    """The containers whose keys the trainer takes: the top level and each table directly below, in order."""
    from tomlkit.items import Table

    tables = [item.value for item in document.values() if isinstance(item, Table)]
    return [document, *tables]


def holders_of(document: Any, key: str) -> list[Any]:
    """The containers in which `key` has a value; a section that is named like it is none."""
    from tomlkit.items import Table

    return [each for each in sections(document) if key in each and not isinstance(each[key], Table)]


def neighbours(container: Any, known: Any, key: str) -> list[str]:
    """The keys of a container that belong to the same group as `key`, in order."""
    if key not in known:
        return []
    group = known[key].group
    alike = [name for name in container if name in known and known[name].group == group]
    return [name for name in alike if not isinstance(container[name], dict)]  # a section is no neighbour


def set_option(document: Any, known: Any, key: str, value: Any) -> None:
    """Set an option of train.toml where it wins, else behind its group, in the section that has most of it."""
    holders = holders_of(document, key)
    if holders:
        assign(holders[-1], key, value, [])
        return
    best: Any = document
    near: list[str] = []
    for container in sections(document):
        found = neighbours(container, known, key)
        if len(found) > len(near):
            best, near = container, found
    if not near and key in document:  # a section of that name: the key can only stand inside
        best = container_of(document[key])
    assign(best, key, value, near)


def container_of(table: Any) -> Any:
    """What to put keys into: the container of a table, or the table itself when its parts stand apart in the file."""
    from tomlkit.items import InlineTable, Table

    return table.value if isinstance(table, Table | InlineTable) else table


def assign(container: Any, key: str, value: Any, near: list[str]) -> None:
    """Set `key`: in place when it is there, else behind the last of `near`, else where tomlkit puts it."""
    item = toml_item(value)
    if key in container:
        container[key] = item
    elif near and hasattr(container, "_insert_after"):
        container._insert_after(near[-1], key, item)
    else:
        container[key] = item
