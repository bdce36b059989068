"""A long log a page at a time: every line once, from either end, and found from the end."""

from __future__ import annotations

from pathlib import Path

from core.runs.log_pages import find_before, page_after, page_before


def write_log(path: Path, count: int) -> Path:
    path.write_text("".join(f"line {number} of the log, and some more words\n" for number in range(count)))
    return path


def test_pages_backwards_give_every_line_once(tmp_path: Path) -> None:
    """From the end to the first line: nothing is missing at the borders and nothing comes twice."""
    log = write_log(tmp_path / "output.log", 3000)
    page = page_before(log, size=5000)
    found = [line.text for line in page.lines]
    while page.begin:
        page = page_before(log, page.begin, size=5000)
        found[:0] = [line.text for line in page.lines]
    assert found == log.read_text().splitlines()


def test_pages_forwards_reach_the_end(tmp_path: Path) -> None:
    """From the first line on; the last page ends with the file."""
    log = write_log(tmp_path / "output.log", 3000)
    page, found = page_after(log, 0, size=5000), []
    while page.lines:
        found += [line.text for line in page.lines]
        page = page_after(log, page.end, size=5000)
    assert found == log.read_text().splitlines()
    assert page.end == page.size == log.stat().st_size


def test_a_text_is_found_from_the_end_whatever_its_case(tmp_path: Path) -> None:
    """The place is where its line begins; a second search finds the one before; then there is none."""
    log = tmp_path / "output.log"
    filler = "nothing to see here\n" * 300_000
    log.write_text(f"first CUDA out of memory\n{filler}second cuda OUT of memory\n{filler}")
    place = find_before(log, "cuda out OF", log.stat().st_size)
    assert place == len(f"first CUDA out of memory\n{filler}")
    assert page_after(log, place, size=100).lines[0].text == "second cuda OUT of memory"
    assert find_before(log, "cuda out of", place) == 0
    assert find_before(log, "cuda out of", 0) is None
    assert find_before(log, "cuda out of", log.stat().st_size, lambda: True) is None


def test_half_characters_long_lines_and_missing_files_are_no_trouble(tmp_path: Path) -> None:
    """A line longer than a page comes whole; bytes that are no text are marked; no file is an empty page."""
    log = tmp_path / "output.log"
    log.write_bytes("日本語".encode()[:-1] + b"\n" + b"x" * 20_000 + b"\n\x1b[31mred\xff\n")
    page = page_before(log, size=4000)
    assert page.lines[-1].text.startswith("red")
    assert "\x1b" not in page.lines[-1].text
    assert len(page_before(log, page.begin, size=4000).lines[-1].text) == 20_000
    assert page_before(tmp_path / "gone").lines == ()
    assert find_before(tmp_path / "gone", "x", 10) is None
