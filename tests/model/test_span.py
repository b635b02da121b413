"""The grammar of spans, as a table, and against a real bash for what a shell does to them."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hakuriver.model.errors import NotFound, UsageError
from hakuriver.model.sweep import Sweep, parse
from tests.support import needs

FILES = {"three": ["a", "", "b c", "d"], "empty": ["", ""]}


def read(name: str) -> list[str]:
    if name not in FILES:
        raise NotFound(f"there is no {name}")
    return FILES[name]


def sweep(*words: str, zipped: bool = False) -> Sweep:
    return parse(words, read, zipped=zipped)


def values(*words: str) -> list[str]:
    """What the one argument of a command becomes in each run."""
    return [argv[1] for argv in sweep("app", *words)]


@pytest.mark.parametrize(
    ("word", "wanted"),
    [
        ("span:{1..4}", "1 2 3 4"),
        ("span:{4..1}", "4 3 2 1"),
        ("span:{1..10..4}", "1 5 9"),
        ("span:{10..1..-4}", "10 6 2"),
        ("span:{10..1..4}", "10 6 2"),
        ("span:{-2..1}", "-2 -1 0 1"),
        ("span:{08..11}", "08 09 10 11"),
        ("span:{8..011}", "008 009 010 011"),
        ("span:{-01..1}", "-01 000 001"),
        ("span:{0..10..5}", "0 5 10"),
        ("span:{7..7}", "7"),
        ("span:{0..1..0.25}", "0 0.25 0.5 0.75 1"),
        ("span:{0.3..0.1..0.1}", "0.3 0.2 0.1"),
        ("span:{-0.5..0.5..0.5}", "-0.5 0 0.5"),
        ("span:{.5..1.5..1}", "0.5 1.5"),
        ("span:{1e-3..3e-3..1e-3}", "0.001 0.002 0.003"),
        ("span:{0..20..10.0}", "0 10 20"),
        ("span:{a..e}", "a b c d e"),
        ("span:{e..a..2}", "e c a"),
        ("span:{X..Z}", "X Y Z"),
        ("span:{foo,bar}", "foo bar"),
        ("span:[foo,bar]", "foo bar"),
        ("span:[ foo , bar ]", "foo bar"),
        ("span:[1e-3,1e-4]", "1e-3 1e-4"),
        ("span:[one]", "one"),
        ("--lr=span:[1e-3,1e-4]", "--lr=1e-3 --lr=1e-4"),
        ("a-span:{1..2}-b", "a-1-b a-2-b"),
        ("span:{1..2}/span:[x,y]", "1/x 1/y 2/x 2/y"),
        ("span:{1..2}span:{3..4}", "13 14 23 24"),
        ("lifespan:{1..2}", "lifespan:{1..2}"),
        ("-nspan:{1..2}", "-n1 -n2"),
        ("span", "span"),
        ("x=span:{1..2}", "x=1 x=2"),
    ],
)
def test_a_span_has_these_values(word: str, wanted: str) -> None:
    assert values(word) == wanted.split()


@pytest.mark.parametrize(
    ("word", "wanted"),
    [
        ('span:["a, b",c]', ["a, b", "c"]),
        ("span:['it is',\"it's\"]", ["it is", "it's"]),
        (r'span:["say \"x\"","back\\slash"]', ['say "x"', "back\\slash"]),
        ('span:["",a]', ["", "a"]),
        ("span:[[1,2],[3,4]]", ["[1,2]", "[3,4]"]),
        ("span:[it's,don't]", ["it's", "don't"]),
        (r"span:[\d+,\w]", [r"\d+", r"\w"]),
        ("span:[ü,河]", ["ü", "河"]),
        ("pre span:[a b,c]", ["pre a b", "pre c"]),
        ("span:@three", ["a", "b c", "d"]),
        ("--in=span:@three", ["--in=a", "--in=b c", "--in=d"]),
    ],
)
def test_a_list_holds_what_is_quoted_in_it(word: str, wanted: list[str]) -> None:
    assert values(word) == wanted


@pytest.mark.parametrize(
    ("word", "place", "what"),
    [
        ("span:{1..x}", 10, "'x' is neither a number nor a letter"),
        ("span:{1..3", 6, "there is no '}'"),
        ("span:{}", 6, "neither {FIRST..LAST} nor {A,B}"),
        ("span:{abc}", 6, "neither {FIRST..LAST} nor {A,B}"),
        ("span:{1..9..0}", 13, "a step of 0 leads nowhere"),
        ("span:{1..9..a}", 13, "the step 'a' is no number"),
        ("span:{1..2..3..4}", 7, "FIRST..LAST..STEP"),
        ("span:{a..Z}", 10, "not of the same case"),
        ("span:{a..c..0.5}", 13, "whole steps"),
        ("span:{a..3}", 7, "'a' is neither a number"),
        ("span:{0..0.5}", 7, "decimals need a step"),
        ("span:{1..9999999999}", 7, "more than 1000000000"),
        ("span:[]", 7, "there is no value here"),
        ("span:[a,,b]", 9, 'a value is empty; "" means that'),
        ("span:[a,]", 9, "a value is empty"),
        ("span:[a,b", 6, "there is no ']'"),
        ('--x=span:["a,b]', 11, 'begins with this " has no end'),
        ('span:["a"b]', 10, "only ',' or ']' may follow"),
        ("span:@", 6, "the name of a file has to follow"),
        ("span:@empty", 6, "there is no line in empty"),
    ],
)
def test_a_malformed_span_is_an_error_with_its_place(word: str, place: int, what: str) -> None:
    with pytest.raises(UsageError) as raised:
        sweep("app", "-v", word)
    assert raised.value.detail.startswith(f"argument 2, '{word}', character {place}: ")
    assert what in raised.value.detail


def test_a_file_that_cannot_be_read_is_said_by_who_reads_it() -> None:
    with pytest.raises(NotFound):
        sweep("app", "span:@nowhere")


@pytest.mark.parametrize("word", ["span:", "span:1..10", "--n=span:a..z"])
def test_a_span_without_braces_is_an_error_that_shows_them(word: str) -> None:
    with pytest.raises(UsageError, match="is no span"):
        sweep("app", word)


def test_the_last_argument_changes_fastest() -> None:
    runs = list(sweep("python", "demo.py", "span:{1..2}", "fixed", "span:[foo,bar]"))
    assert [run[2:] for run in runs] == [
        ("1", "fixed", "foo"), ("1", "fixed", "bar"), ("2", "fixed", "foo"), ("2", "fixed", "bar"),
    ]  # fmt: skip


def test_the_command_itself_may_have_spans() -> None:
    assert [argv[0] for argv in sweep("./span:[a,b].sh")] == ["./a.sh", "./b.sh"]


def test_without_a_span_there_is_one_run() -> None:
    assert list(sweep("a", "b", "b")) == [("a", "b", "b")]


def test_zip_pairs_values() -> None:
    assert list(sweep("a", "span:{1..3}", "x", "span:[p,q,r]", zipped=True)) == [
        ("a", "1", "x", "p"), ("a", "2", "x", "q"), ("a", "3", "x", "r"),
    ]  # fmt: skip
    with pytest.raises(UsageError, match=r"span:\{1..3\} has 3, span:\[p,q\] has 2"):
        sweep("a", "span:{1..3}", "span:[p,q]", zipped=True)
    with pytest.raises(UsageError, match="no span"):
        sweep("a", zipped=True)


def test_axes_are_named_after_their_options() -> None:
    plan = sweep(
        "a", "--lr=span:{1..2}", "--batch-size", "span:[8]", "seed=span:{5..6}", "x",
        "span:{1..2}", "--lr=span:[again]", "--index=span:[1]", "-n", "span:[9]",
    )  # fmt: skip
    assert plan.variables(7) == {
        "HAKURUN_LR": "2", "HAKURUN_BATCH_SIZE": "8", "HAKURUN_SEED": "6", "HAKURUN_N": "9",
        "HAKURUN_INDEX": "8", "HAKURUN_TOTAL": "8",
    }  # fmt: skip


def test_huge_sweeps_cost_nothing_until_they_run() -> None:
    plan = sweep("a", "span:{1..1000000000}", "span:{1..1000000000}", "span:{0..1..0.000001}")
    assert plan.total == 10**18 * 1000001
    assert plan.argv(plan.total - 1) == ("a", "1000000000", "1000000000", "1")


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("span:1 span:2 span:3", "1 2 3"),
        ("span:1 span:2 span:3 span:4 span:5", "1 2 3 4 5"),
        ("span:10 span:20 span:30 span:40", "10 20 30 40"),
        ("span:foo span:bar", "foo bar"),
        ("span:8 span:16 span:32", "8 16 32"),
        ("span:5", "5"),
        ("o/span:1.txt o/span:2.txt o/span:3.txt o/span:4.txt", "o/1.txt o/2.txt o/3.txt o/4.txt"),
        ("span:1-span:x span:1-span:y span:2-span:x span:2-span:y", "1-x 1-y 2-x 2-y"),
        ("span:v1 span:v2 span:v3 span:v4", "v1 v2 v3 v4"),
    ],
)
def test_what_a_shell_has_expanded_is_put_together_again(words: str, wanted: str) -> None:
    plan = sweep("app", *words.split(), "end")
    assert [run[1:] for run in plan] == [(value, "end") for value in wanted.split()]
    assert len(plan.notes) == 1


def test_how_it_was_read_is_said() -> None:
    (note,) = sweep("app", *(f"--n=span:{n}" for n in range(1, 11))).notes
    assert note.startswith(
        "--n=span:1 --n=span:2 … --n=span:10 (10 words) is read as '--n=span:{1..10}'"
    )


@pytest.mark.parametrize(
    ("words", "two"),
    [
        ("span:1 span:2 span:1 span:2", "'span:[1,2]' 'span:[1,2]'"),
        ("span:adam span:sgd span:cifar span:mnist", "'span:[adam,sgd]' 'span:[cifar,mnist]'"),
        ("span:1 span:2 span:3 span:a span:b", "'span:[1,2,3]' 'span:[a,b]'"),
        ("--x=span:1 --x=span:1", "'--x=span:[1]' '--x=span:[1]'"),
        ("span:8 span:16 span:32 span:64", "'span:[8,16]' 'span:[32,64]'"),
    ],
)
def test_two_possible_readings_are_an_error_that_shows_what_to_quote(words: str, two: str) -> None:
    with pytest.raises(UsageError) as raised:
        sweep("app", *words.split())
    assert "more than one way" in raised.value.detail
    assert raised.value.hint.endswith(f"As two: {two}.")


def test_words_with_other_text_around_are_other_arguments() -> None:
    plan = sweep("app", "--a=span:1", "--a=span:2", "--b=span:1", "--b=span:2")
    assert plan.total == 4


NUMBERS = st.integers(-120, 120)
RANGES = st.builds(
    lambda first, last, step, pad: (
        f"{{{first:0{pad}d}..{last}{f'..{step}' if step else ''}}}"
    ),
    NUMBERS, NUMBERS, st.sampled_from([0, 1, 2, 7, -3]), st.sampled_from([0, 0, 2, 4]),
)  # fmt: skip
LETTERS = st.one_of(
    st.builds("{{{}..{}}}".format, *[st.sampled_from("abcdefwxyz")] * 2),
    st.builds("{{{}..{}}}".format, *[st.sampled_from("ABCXYZ")] * 2),
)
LISTS = st.lists(
    st.sampled_from(["foo", "bar", "1", "2", "x.y", "a_b", "7e-4"]), min_size=2, max_size=5
)
BRACES = st.one_of(RANGES, LETTERS, LISTS.map(lambda items: f"{{{','.join(items)}}}"))
TEXT = st.sampled_from(["", "--lr=", "out/", "a_", "k:", "-n"])
BEHIND = st.sampled_from(["", ".txt", "-x", "/2", "_0", "7"])
WORDS = st.lists(st.tuples(TEXT, BRACES, BEHIND), min_size=1, max_size=2)


def bash(line: str) -> list[str]:
    done = subprocess.run(
        ["bash", "--norc", "-c", f"set -f; printf '%s\\0' {line}"], capture_output=True, check=True
    )
    return done.stdout.decode().split("\0")[:-1]


@settings(max_examples=400, deadline=None)
@given(WORDS)
def test_unquoted_means_what_quoted_means_or_is_an_error(parts: list[tuple[str, str, str]]) -> None:
    """Every word that one expansion of bash made is read as that one, or not read at all.

    Two neighbours with the same text around them may be one sequence: that reading is allowed.
    """
    needs.needs(needs.shell("bash"))
    written = [f"{before}span:{braces}{behind}" for before, braces, behind in parts]
    if len(parts) == 2:  # apart, so that they cannot be one
        written.insert(1, "between")
    try:
        unquoted = list(sweep("app", *bash(" ".join(written))))
    except UsageError as error:
        assert "more than one way" in error.detail
        return
    assert unquoted == list(sweep("app", *written))


@settings(max_examples=200, deadline=None)
@given(st.one_of(RANGES, LETTERS))
def test_a_range_of_bash_is_never_in_doubt(braces: str) -> None:
    needs.needs(needs.shell("bash"))
    words = bash(f"span:{braces}")
    assert values(*words) == values(f"span:{braces}") == bash(braces)


@given(st.lists(st.text(max_size=8), min_size=1, max_size=6))
def test_a_list_that_is_shown_is_a_list_that_can_be_read(items: list[str]) -> None:
    from hakuriver.model.span import write_list

    assert values(f"span:{write_list(items)}") == items
