"""The command line's frame: help, unknown flags, one-line errors, exit statuses.

This text stands above the flags of the command that the tests make up.
"""

import pytest
from absl import flags

from ganpipe.cli import app
from ganpipe.errors import UserError


def make_flags(with_config=False):
    values = flags.FlagValues()
    flags.DEFINE_string("workdir", None, "run folder of the test", flag_values=values)
    flags.DEFINE_integer("count", 3, "how many", lower_bound=1, flag_values=values)
    if with_config:
        flags.DEFINE_string("config", None, "a config", flag_values=values)
    return values


def call(arguments, main=lambda leftovers: None, with_config=False):
    """(exit status, flags, leftovers that `main` got or None if it was not called)."""
    values, seen = make_flags(with_config), []

    def recorded(leftovers):
        seen.append(leftovers)
        return main(leftovers)

    with pytest.raises(SystemExit) as exit_info:
        app.run(recorded, values, arguments)
    return exit_info.value.code, values, seen[0] if seen else None


def test_flags_are_parsed_and_positional_arguments_left_over():
    status, values, leftovers = call(["--workdir=a", "x", "--count", "5", "-"])
    assert (status, values.workdir, values.count) == (0, "a", 5)
    assert leftovers == ["x", "-"]


def test_flags_stay_out_of_the_global_ones():
    call(["--workdir=a"])
    assert "workdir" not in flags.FLAGS


@pytest.mark.parametrize(("returned", "status"), [(None, 0), (0, 0), (1, 1), (7, 7)])
def test_the_status_is_what_main_returns(returned, status):
    assert call([], lambda leftovers: returned)[0] == status


def test_argv_none_is_the_process_command_line(monkeypatch):
    monkeypatch.setattr("sys.argv", ["prog", "--count=9"])
    status, values, _ = call(None)
    assert (status, values.count) == (0, 9)


BAD = [
    (["--workdri=a"], ["unknown flag --workdri", "Did you mean --workdir?", "--help"]),
    (["-workdri", "a"], ["unknown flag --workdri", "Did you mean --workdir?"]),
    (["--zzz"], ["unknown flag --zzz.", "--help"]),
    (["--"], ["'--'", "names no flag", "--NAME=VALUE", "--help"]),
    (["--", "--count=4"], ["'--'", "names no flag"]),
    (["--=4"], ["'--=4'", "names no flag"]),
    (["--count=0"], ["count", "0"]),
    (["--count=many"], ["--count=many"]),
    (["--workdir"], ["workdir"]),
    (["--config.train.steps=4"], ["unknown flag --config.train.steps"]),
]


@pytest.mark.parametrize(("arguments", "parts"), BAD, ids=lambda v: " ".join(v))
def test_a_bad_flag_is_one_line_and_status_2(arguments, parts, capsys):
    status, _, leftovers = call(arguments)
    printed = capsys.readouterr()
    assert (status, leftovers, printed.out) == (2, None, "")
    (line,) = printed.err.splitlines()
    assert line.startswith("error: ")
    for part in parts:
        assert part in line


def test_config_keys_pass_only_where_there_is_a_config_flag(capsys):
    arguments = ["--config=name", "--config.train.steps=4"]
    status, values, leftovers = call(arguments, with_config=True)
    assert (status, values.config) == (0, "name")
    assert leftovers == ["--config.train.steps=4"]
    assert call(["--confg.train.steps=4"], with_config=True)[0] == 2
    assert "unknown flag --confg.train.steps" in capsys.readouterr().err


def test_user_error_is_one_line_on_stderr(capsys):
    def main(leftovers):
        raise UserError("--workdir=a is a file; expected a folder.")

    assert call([], main)[0] == 2
    printed = capsys.readouterr()
    assert printed.err == "error: --workdir=a is a file; expected a folder.\n"
    assert printed.out == ""


def test_a_bug_passes_through():
    def main(leftovers):
        raise ValueError("ours")  # UserError is a ValueError; the reverse must not be caught

    with pytest.raises(ValueError, match="ours"):
        app.run(main, make_flags(), [])


def test_ctrl_c_is_130(capsys):
    def main(leftovers):
        raise KeyboardInterrupt

    assert call([], main)[0] == 130
    assert "stopped by the user" in capsys.readouterr().err


def main_with_help(leftovers):
    raise AssertionError("--help must not run the command")


@pytest.mark.parametrize("spelling", ["--help", "-h", "-help", "--helpfull", "--helpshort"])
def test_help_shows_the_docstring_and_the_flags(spelling, capsys):
    with pytest.raises(SystemExit) as exit_info:
        app.run(main_with_help, make_flags(), ["--workdir=a", spelling, "--nonsense"])
    assert exit_info.value.code == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("The command line's frame: help")
    assert "This text stands above the flags" in printed.out
    for part in ("--workdir", "run folder of the test", "--count", "(default: '3')"):
        assert part in printed.out
    assert printed.err == ""


def test_quiet_leaves_a_wish_of_the_user_alone(monkeypatch):
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    app.quiet()
    import os

    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "0"
