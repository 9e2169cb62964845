import os
import pathlib

import pytest
from absl import flags as absl_flags
from absl.testing import flagsaver

from mnist_keras.app import flags
from mnist_keras.app.config import RunConfig
from mnist_keras.app.run_directory import RunDirectory
from mnist_keras.errors import UsageError

FLAGS_TXT = pathlib.Path(__file__).parent.parent.parent / "flags.txt"


@pytest.fixture(autouse=True)
def command_line(monkeypatch, tmp_path):
    """For the flags each test looks like a new process, in a new directory."""
    if "batch_size" not in absl_flags.FLAGS:
        flags.define()
    monkeypatch.delenv("MNIST_KERAS_DATA_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    with flagsaver.flagsaver():
        absl_flags.FLAGS.unparse_flags()
        yield


def parse(*arguments):
    return flags.parse(["main.py", *arguments])


def refusal(*arguments):
    with pytest.raises(UsageError) as caught:
        parse(*arguments)
    return str(caught.value)


@pytest.mark.parametrize("words", [["--flagfile=pipe"], ["--flagfile", "pipe"], ["--flagfile=a"]])
def test_a_named_pipe_is_not_read_as_a_flag_file(words):
    os.mkfifo("pipe")
    pathlib.Path("a").write_text("--epochs=3\n--flagfile=pipe\n")
    assert refusal(*words) == (
        "a flag file cannot be read: a named pipe. Received: 'pipe'. "
        "Expected: a text file with one flag per line."
    )


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/dev/zero", "a device"),
        ("large", "more than 1048576 bytes"),
        ("long", "more than 10000 flags"),
        ("many", "more than 100 flag files"),
        ("deep", "more than 100 flag files"),
    ],
)
def test_a_flag_file_without_end_is_refused(path, reason):
    pathlib.Path("large").write_bytes(b"#" * (1 << 21))
    pathlib.Path("long").write_text("--epochs=3\n" * 10_001)
    pathlib.Path("many").write_text("--flagfile=empty\n" * 99 + "--flagfile=many2\n")
    pathlib.Path("empty").touch()
    pathlib.Path("many2").touch()
    pathlib.Path("deep").write_text("--flagfile=d1\n")
    for level in range(1, 200):
        pathlib.Path(f"d{level}").write_text(f"--flagfile=d{level + 1}\n")
    path_of = {"many": "many2", "deep": "d100"}
    assert refusal(f"--flagfile={path}") == (
        f"a flag file cannot be read: {reason}. Received: '{path_of.get(path, path)}'. "
        "Expected: a text file with one flag per line."
    )


@pytest.mark.parametrize("blank", [" ", "\t", "\x0b", "\u2028"])
def test_a_flag_file_after_a_blank_is_bounded(blank):
    pathlib.Path("a").write_text(f"{blank}--flagfile=/dev/zero\n", encoding="utf-8")
    assert refusal("--flagfile=a").startswith("a flag file cannot be read: a device.")


@pytest.mark.parametrize(
    ("line", "received"),
    [("--flagfile\n/dev/zero\n", "--flagfile"), (" -flagfile= ", "-flagfile=")],
)
def test_a_line_without_the_path_of_its_flag_file(line, received):
    pathlib.Path("a").write_text(line)
    assert refusal("--flagfile=a") == (
        f"--flagfile without a path. Received: {received} in a. Expected: --flagfile=PATH."
    )


@pytest.mark.parametrize("word", ["--flagfile", "--flagfile="])
def test_a_word_without_the_path_of_its_flag_file(word):
    expected = f"--flagfile without a path. Received: {word}. Expected: --flagfile=PATH."
    assert refusal("--epochs=3", word) == expected


def test_a_flag_file_may_begin_with_a_byte_order_mark():
    pathlib.Path("a").write_text("--epochs=3\r\n", encoding="utf-8-sig")
    assert parse("--flagfile=a").epochs == 3


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32"])
def test_a_flag_file_of_wide_characters_is_not_text(encoding):
    pathlib.Path("a").write_text("--epochs=3\n", encoding=encoding)
    assert refusal("--flagfile=a") == (
        "a flag file is not text. Received: --flagfile=a. Expected: one flag per line."
    )


@pytest.mark.parametrize("separator", ["\x0b", "\x85", "\u2028"])
def test_only_a_line_feed_ends_a_line_of_flags(separator):
    value = f"a{separator}--epochs=3"
    pathlib.Path("a").write_text(f"--seed=4\r\n--logdir={value}\n", encoding="utf-8")
    assert f"--logdir is wrong. Received: {value!r}." in refusal("--flagfile=a")


def test_the_flag_file_that_includes_itself_is_named():
    pathlib.Path("outer").write_text("--flagfile=inner\n")
    pathlib.Path("inner").write_text("--flagfile=inner\n")
    assert "Received: --flagfile=inner." in refusal("--flagfile=outer")


def test_an_empty_device_is_an_empty_flag_file():
    assert parse(f"--flagfile={os.devnull}") == RunConfig()


def test_any_number_of_photos_is_accepted(tmp_path):
    write_run(tmp_path / "logs" / "a")
    pathlib.Path("flags").write_text("--json\n")
    photos = tuple(f"{number}.png" for number in range(10_001))
    assert parse("--mode=predict", *photos, "--flagfile=flags").paths == photos


def test_an_error_shows_the_words_that_were_typed():
    pathlib.Path("a").write_text("--seed=4\n--epochs\n")
    assert refusal("--flagfile=a").endswith("Received: --flagfile=a. Expected: flags as in --help.")


def test_a_pipe_that_the_shell_made_is_read_once(tmp_path):
    write_run(tmp_path / "logs" / "a", seed=1)
    reader, writer = os.pipe()
    os.write(writer, b"--run_name=a\n--json\n")
    os.close(writer)
    config = parse("--mode=evaluate", f"--flagfile=/dev/fd/{reader}")
    os.close(reader)
    assert (config.run_name, config.seed, config.json) == ("a", 1, True)


def write_run(path, **recipe):
    path.mkdir(parents=True)
    run = RunDirectory(path)
    run.store_recipe(RunConfig(**recipe))
    return run


def test_the_default_recipe_equals_run_config_and_flags_txt():
    assert parse() == parse(f"--flagfile={FLAGS_TXT}") == RunConfig()


def test_every_flag_reaches_the_recipe():
    given = {
        "dataset": "kmnist",
        "data_dir": "data",
        "logdir": "elsewhere",
        "run_name": "数字",
        "overwrite": True,
        "network": "cnn",
        "loss": "categorical_crossentropy",
        "optimizer": "adamw",
        "learning_rate": 0.5,
        "adam_beta_1": 0.7,
        "adam_beta_2": 0.9,
        "weight_decay": 0.25,
        "average_decay": 0.75,
        "label_smoothing": 0.125,
        "schedule": "one_cycle",
        "warmup_steps": 6,
        "augment_shift": 2.0,
        "augment_rotation": 10.0,
        "augment_scale": 0.1,
        "augment_shear": 5.0,
        "augment_elastic": 1.5,
        "batch_size": 7,
        "batch_parts": 3,
        "gradient_accumulation_steps": 2,
        "epochs": 8,
        "shuffle": True,
        "seed": 9,
        "validation_examples": 10,
        "early_stopping_patience": 3,
        "log_every_steps": 11,
        "checkpoint_every_steps": 12,
        "checkpoint_every_minutes": 2.5,
        "keep_checkpoints": 13,
        "keep_best_checkpoints": 2,
        "keep_every_steps": 24,
        "start_from": "logs/other",
        "steps_per_execution": 14,
        "report": False,
        "chart_layout": False,
        "run_text": False,
        "hparams": False,
        "network_graph": False,
        "memory_usage": False,
        "weight_norms_every_epochs": 14,
        "pictures_every_epochs": 15,
        "histograms_every_epochs": 16,
        "pr_curves_every_epochs": 17,
        "projector": True,
        "profile_steps": "18-19",
        "dtype_policy": "mixed_bfloat16",
        "distribution": "one_device",
        "cpu_devices": 2,
        "data_partitions": 4,
        "json": True,
        "contact_sheet": "sheet.png",
        "export_dir": "exports",
        "debug": True,
    }
    lists = {"formats": ("onnx", "litert"), "sinks": ("csv", "aim")}
    assert {"mode", "paths", *given, *lists} == set(RunConfig.__dataclass_fields__)
    words = [f"--{name}={value}" for name, value in given.items()]
    words += [f"--{name}={','.join(value)}" for name, value in lists.items()]
    assert parse(*words) == RunConfig(**given, **lists)


@pytest.mark.parametrize(
    ("arguments", "values"),
    [
        (["--epochs=2", "--epochs=3"], {"epochs": 3}),
        (["-epochs", "3"], {"epochs": 3}),
        (["--shuffle", "--noshuffle", "--nooverwrite"], {}),
        (["--epochs=3", "--flagfile=two.txt"], {"epochs": 2}),
        (["--flagfile=two.txt", "--epochs=3"], {"epochs": 3}),
        (["--flagfile=outer.txt"], {"epochs": 2, "seed": 4, "logdir": "空 间"}),
        (["--flagfile", "~/two.txt"], {"epochs": 2}),
        (["--steps_per_execution=10"], {"steps_per_execution": 10}),
        (["--batch_parts=auto", "--batch_parts=2"], {"batch_parts": 2}),
    ],
)
def test_the_last_of_repeated_flags_wins(arguments, values, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "two.txt").write_text("# a comment\n\n  --epochs=2  \n")
    (tmp_path / "outer.txt").write_text("--flagfile=two.txt\n--seed=4\n--logdir=空 间\n")
    assert parse(*arguments) == RunConfig(**values)


@pytest.mark.parametrize(
    ("variable", "arguments", "data_dir"),
    [
        (None, [], None),
        ("", [], None),
        ("there", [], "there"),
        ("there", ["--data_dir=here"], "here"),
        ("~/there", [], "/home/me/there"),
        (None, ["--data_dir=~/here"], "/home/me/here"),
    ],
)
def test_the_data_directory_flag_overrides_the_environment(
    variable, arguments, data_dir, monkeypatch
):
    monkeypatch.setenv("HOME", "/home/me")
    if variable is not None:
        monkeypatch.setenv("MNIST_KERAS_DATA_DIR", variable)
    assert parse(*arguments) == RunConfig(data_dir=data_dir)


def test_a_tilde_in_the_logdir_means_the_home_directory(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert parse("--logdir=~/runs").logdir == "/home/me/runs"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--bogus"], "unknown flag. Received: --bogus. Expected: a flag of --help."),
        (
            ["--epoch=3"],
            "unknown flag. Received: --epoch. Expected: a flag of --help, perhaps --epochs.",
        ),
        (
            ["--network=rnn"],
            "--network is wrong. Received: 'rnn'. Expected: one of mlp, cnn, cnn_fast, deep_cnn.",
        ),
        (["--batch_size=1e9"], "--batch_size is wrong. Received: '1e9'. Expected: an integer."),
        (["--seed=a: b"], "--seed is wrong. Received: 'a: b'. Expected: an integer."),
        (
            [f"--batch_parts={'9' * 5000}"],
            f"--batch_parts is wrong. Received: '{'9' * 5000}'. "
            "Expected: auto or an integer from 1 to 256.",
        ),
        (["--learning_rate="], "--learning_rate is wrong. Received: ''. Expected: a number."),
        (["--shuffle=maybe"], "--shuffle is wrong. Received: 'maybe'. Expected: true or false."),
        (
            ["--epochs"],
            "Missing value for flag --epochs. Received: --epochs. Expected: flags as in --help.",
        ),
        (["a", "b"], "arguments that are not flags. Received: a b. Expected: none."),
        (["--mode=evaluate", "a"], "arguments that are not flags. Received: a. Expected: none."),
        (
            ["--", "--epochs=3"],
            "arguments that are not flags. Received: --epochs=3. Expected: none.",
        ),
        (
            ["--flagfile=none.txt"],
            "a flag file cannot be read: No such file or directory. Received: 'none.txt'. "
            "Expected: a text file with one flag per line.",
        ),
        (
            ["--flagfile=."],
            "a flag file cannot be read: a directory. Received: '.'. "
            "Expected: a text file with one flag per line.",
        ),
        (
            ["--flagfile=garbage"],
            "a flag file is not text. Received: --flagfile=garbage. Expected: one flag per line.",
        ),
        (
            ["--flagfile=itself"],
            "a flag file includes itself. Received: --flagfile=itself. "
            "Expected: each flag file once.",
        ),
        (["--flagfile=words"], "arguments that are not flags. Received: epochs=3. Expected: none."),
    ],
)
def test_an_ambiguous_command_line_is_refused(arguments, message, tmp_path):
    (tmp_path / "garbage").write_bytes(bytes(range(256)))
    (tmp_path / "itself").write_text("--flagfile=itself\n")
    (tmp_path / "words").write_text("epochs=3\n")
    assert refusal(*arguments) == message


@pytest.mark.parametrize(
    "arguments",
    [
        ["--mode=compare", "logs/a", "logs/数 字", "--logdir=x"],
        ["logs/a", "--logdir=x", "logs/数 字", "--mode=compare"],
        ["--logdir=x", "--mode=compare", "--", "logs/a", "logs/数 字"],
    ],
)
def test_words_other_than_flags_are_paths_at_any_position(arguments):
    paths = ("logs/a", "logs/数 字")
    assert parse(*arguments) == RunConfig(mode="compare", logdir="x", paths=paths)


def test_evaluation_uses_the_runs_flags_unless_overridden(tmp_path):
    write_run(tmp_path / "logs" / "a", dataset="kmnist", data_dir="data", batch_size=7)
    recipe = {
        "mode": "evaluate",
        "dataset": "kmnist",
        "run_name": "a",
        "data_dir": str(tmp_path / "data"),
    }
    named = parse("--mode=evaluate", "--run_name=a", "--batch_size=8")
    assert named == RunConfig(**recipe, logdir="logs", batch_size=8)


@pytest.mark.parametrize("arguments", [[], ["--flagfile=logs/a/flags.txt"], ["--run_name=a"]])
def test_evaluation_finds_runs_by_name_flag_file_or_date(arguments, tmp_path):
    write_run(tmp_path / "logs" / "a", seed=1)
    config = parse("--mode=evaluate", *arguments)
    assert (config.run_name, config.seed) == ("a", 1)
    assert (tmp_path / config.logdir).samefile(tmp_path / "logs")


def test_evaluation_finds_a_renamed_and_moved_run(tmp_path):
    write_run(tmp_path / "logs" / "a", seed=1)
    (tmp_path / "kept").mkdir()
    (tmp_path / "logs" / "a").rename(tmp_path / "kept" / "b")
    config = parse("--mode=evaluate", "--logdir=kept", "--run_name=b")
    assert config == RunConfig(mode="evaluate", logdir="kept", run_name="b", seed=1)


def test_prediction_finds_the_run_like_evaluation_and_takes_files(tmp_path):
    write_run(tmp_path / "logs" / "a", loss="categorical_crossentropy")
    files = ("seven.jpg", "数 字.png")
    assert parse("--mode=predict", files[0], "--json", files[1]) == RunConfig(
        mode="predict",
        logdir="logs",
        run_name="a",
        loss="categorical_crossentropy",
        json=True,
        paths=files,
    )
    assert refusal("--mode=predict", "--run_name=b", "seven.jpg") == (
        "there is no such run. Received: logs/b. Expected: a run's name."
    )


def test_export_finds_the_run_like_evaluation(tmp_path):
    write_run(tmp_path / "logs" / "a", dtype_policy="mixed_bfloat16")
    assert parse("--mode=export", "--formats=onnx") == RunConfig(
        mode="export",
        logdir="logs",
        run_name="a",
        dtype_policy="mixed_bfloat16",
        formats=("onnx",),
    )


def test_prediction_without_files_is_refused(tmp_path):
    write_run(tmp_path / "logs" / "a")
    assert refusal("--mode=predict") == (
        "--mode=predict has nothing to read. Received: no file. "
        "Expected: --mode=predict FILES, photos or IDX files."
    )


def test_evaluation_of_a_missing_run_is_refused(tmp_path):
    assert refusal("--mode=evaluate") == (
        "there is no run yet. Received: --logdir=logs. Expected: the parent directory of a run."
    )
    assert refusal("--mode=evaluate", "--run_name=a") == (
        "there is no such run. Received: logs/a. Expected: a run's name."
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "flag", ["--run_with_pdb", "--undefok=epoch", "--undefok epoch", "--verbosity=1", "--helpxml"]
)
def test_flags_that_absl_defines_are_refused(flag):
    with pytest.raises(UsageError, match="unknown flag"):
        parse(*flag.split())


def test_a_path_may_look_like_a_flag_of_absl():
    assert parse("--mode=compare", "--", "--undefok=a").paths == ("--undefok=a",)


def test_a_flag_file_cannot_hide_mistyped_flags(tmp_path):
    (tmp_path / "flags.txt").write_text("--undefok=epoch\n--epoch=3\n")
    with pytest.raises(UsageError, match=r"unknown flag\. Received: --undefok"):
        parse(f"--flagfile={tmp_path / 'flags.txt'}")
