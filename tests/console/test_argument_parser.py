import pytest

from mnist_keras.console.argument_parser import ArgumentParser


def test_what_was_typed_is_escaped_in_errors(capsys):
    with pytest.raises(SystemExit) as ended:
        ArgumentParser(prog="it").parse_args(["--a\x1b[2J"])
    expected = "it: error: unrecognized arguments: --a\\x1b[2J"
    assert (ended.value.code, capsys.readouterr().err.splitlines()[-1]) == (2, expected)
