"""The command line of every benchmark, and the loop that lets no measure stop the others."""

import argparse
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from benchkit.rows import HEADER, Row, failed


@dataclass(frozen=True, slots=True)
class Options:
    """What the caller wants: fewer repeats (`quick`), some ids only (none: all), rows as lines of JSON."""

    quick: bool = False
    only: frozenset[str] = frozenset()
    as_json: bool = False

    def wants(self, ids: str) -> bool:
        """Whether any of `ids`, divided by spaces, is wanted."""
        return not self.only or not self.only.isdisjoint(ids.split())


def ids(text: str) -> frozenset[str]:
    """`p10,P11` as a set of ids. Raises `argparse.ArgumentTypeError` for what is none."""
    found = frozenset(word.strip().upper() for word in text.split(",") if word.strip())
    for word in found:
        if not (word.startswith("P") and word[1:].isdecimal()):
            raise argparse.ArgumentTypeError(f"{word} is no id of a benchmark, such as P10")
    return found


def parser(description: str) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--quick", action="store_true", help="few repeats: does it run, not how fast is it")
    made.add_argument("--only", type=ids, default=frozenset(), metavar="P10,P11", help="these ids")
    return made


def options_of(arguments: Sequence[str], description: str = "") -> Options:
    made = parser(description)
    made.add_argument("--json", action="store_true", help="a line of JSON for each row")
    found = made.parse_args(arguments)
    return Options(found.quick, found.only, found.json)


Measure = tuple[str, Callable[[Options], Iterator[Row]]]  # the ids it gives, divided by spaces, and how


def rows_of(measures: Sequence[Measure], options: Options) -> Iterator[Row]:
    """The rows of all measures that are wanted; one that fails gives a row that says so, its traceback on stderr."""
    for names, measure in measures:
        if not options.wants(names):
            continue
        try:
            yield from (row for row in measure(options) if options.wants(row.id))
        except Exception as error:  # noqa: BLE001 - the edge of one measure: the others go on
            traceback.print_exc()
            yield failed(names.split()[0], f"{type(error).__name__}: {error}")


def main(measures: Sequence[Measure], description: str) -> None:
    """Measure what the command line asks for, and print it."""
    options = options_of(sys.argv[1:], description)
    if not options.as_json:
        print(HEADER)
    for row in rows_of(measures, options):
        print(row.encoded() if options.as_json else row.markdown(), flush=True)
