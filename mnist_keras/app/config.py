"""The settings of a run, each declared once: default, range, unit, help, and what it decides."""

import dataclasses

from mnist_keras.app.checks import check_companion, check_value
from mnist_keras.app.forms import DIRECTORY, DIRECTORY_NAME, PNG_FILE, STEP_RANGE
from mnist_keras.app.setting import Decides, Group, setting, settings
from mnist_keras.errors import UsageError

MODES = ("train", "evaluate", "predict", "export", "compare", "find_learning_rate")
MODES_WITH_PATHS = ("predict", "compare")  # These take arguments that are not flags.
DATASETS = ("auto", "mnist", "fashion_mnist", "kmnist", "synthetic")
NETWORKS = ("mlp", "cnn", "cnn_fast", "deep_cnn")
LOSSES = ("sum_squared_error", "categorical_crossentropy")
OPTIMIZERS = ("sgd", "momentum", "adam", "adamw", "rmsprop")
SCHEDULES = ("constant", "cosine", "one_cycle")
DTYPE_POLICIES = ("float32", "mixed_bfloat16", "mixed_float16")
DISTRIBUTIONS = ("auto", "one_device", "mirrored", "multi_worker")
TRACKERS = ("mlflow", "wandb", "aim")  # Each is the name of its package, and of its extra.
SINK_FILES = ("csv", "jsonl")  # Each is the ending of its file's name.
SINKS = (*SINK_FILES, *TRACKERS)
_MOST_RATE = 1e38  # float32 ends at 3.4e38; a larger rate would be infinite.
FORMATS = ("saved_model", "litert", "litert_int8", "onnx")


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunConfig:
    """The settings of a run, checked.

    To add a setting, add a field here: its flag, its help, its checks, its line in flags.txt, its
    comparison at a resume and its place in HParams follow from the declaration, see
    `mnist_keras.app.setting`. flags.txt has the order of the fields.

    Raises:
        UsageError: a value that no run can have, named with the flag it came from.

    Example:

    >>> RunConfig(epochs=3).batch_size
    200
    >>> RunConfig(epochs=0)
    Traceback (most recent call last):
    mnist_keras.errors.UsageError: --epochs is too small. Received: 0. Expected: at least 1.
    """

    mode: str = setting(
        "train",
        help="What to do. train: train a run, or resume it. evaluate: score a run's model on the "
        "test set. predict: read the digits in the files that follow, photos (JPEG, PNG, HEIC) or "
        "IDX, as in --mode=predict photo.jpg. export: write a run's model in the --formats of "
        "other programs. compare: print a table of the runs whose directories follow, as in "
        "--mode=compare logs/*; without any, of all runs in --logdir. find_learning_rate: "
        "suggest a --learning_rate for a recipe, by a sweep of a few seconds that trains no run.",
        choices=MODES,
        group=Group.USUAL,
        decides=Decides.COMMAND,
    )
    dataset: str = setting(
        "auto",
        help="Data set to train on. auto: MNIST from --data_dir, the cache or a download; if none "
        "of them has it, the built-in synthetic digits.",
        choices=DATASETS,
        group=Group.USUAL,
        decides=Decides.COMPUTATION,
        in_every_recipe=True,
    )
    data_dir: str | None = setting(
        None,
        help="Directory that holds the data set, as IDX files (.gz or not), shards or mnist.npz. "
        "With it nothing is downloaded.",
        default_help="the cache or a download",
        environment="MNIST_KERAS_DATA_DIR",
        form=DIRECTORY,
        group=Group.USUAL,
        decides=Decides.PLACES,
    )
    logdir: str = setting(
        "logs",
        help="Directory that holds the runs' directories.",
        form=DIRECTORY,
        group=Group.USUAL,
        decides=Decides.PLACES,
    )
    run_name: str | None = setting(
        None,
        help="Name of the run's directory in --logdir. The same name again resumes the run.",
        default_help="date and time; with --mode=evaluate, predict and export the newest run",
        form=DIRECTORY_NAME,
        max_bytes=255,
        group=Group.USUAL,
        decides=Decides.PLACES,
    )
    overwrite: bool = setting(
        False,
        help="Start the named run anew instead of resuming it. This deletes its checkpoints.",
        group=Group.CHECKPOINTS,
        decides=Decides.COMMAND,
    )
    network: str = setting(
        "mlp",
        help="Network to train. mlp: dense layers of 512, 256 and 10 units. cnn: two convolutions. "
        "cnn_fast: the same with half the channels, for a good network in one epoch. deep_cnn: "
        "four convolutions with batch normalization, for the highest accuracy.",
        choices=NETWORKS,
        group=Group.USUAL,
        decides=Decides.COMPUTATION,
        in_every_recipe=True,
    )
    loss: str = setting(
        "sum_squared_error",
        help="Loss of a batch. categorical_crossentropy takes the network's outputs as logits.",
        choices=LOSSES,
        group=Group.NETWORK,
        decides=Decides.COMPUTATION,
        in_every_recipe=True,
    )
    optimizer: str = setting(
        "sgd",
        help="How gradients become updates of the weights. momentum: SGD with Nesterov momentum "
        "of 0.9.",
        choices=OPTIMIZERS,
        group=Group.OPTIMIZER,
        decides=Decides.COMPUTATION,
        in_every_recipe=True,
    )
    learning_rate: float = setting(
        0.001,
        help="Step size of each update; with a --schedule or a warm-up, its largest value.",
        unit="factor of the gradient",
        above=0,
        at_most=_MOST_RATE,
        group=Group.USUAL,
        decides=Decides.COMPUTATION,
        in_every_recipe=True,
    )
    adam_beta_1: float | None = setting(
        None,
        help="Decay per step of the mean gradient.",
        unit="fraction",
        default_help="0.9",
        at_least=0,
        below=1,
        only_with=("optimizer", ("adam", "adamw")),
        group=Group.OPTIMIZER,
        decides=Decides.COMPUTATION,
    )
    adam_beta_2: float | None = setting(
        None,
        help="Decay per step of the mean squared gradient.",
        unit="fraction",
        default_help="0.999",
        at_least=0,
        below=1,
        only_with=("optimizer", ("adam", "adamw")),
        group=Group.OPTIMIZER,
        decides=Decides.COMPUTATION,
    )
    weight_decay: float | None = setting(
        None,
        help="Each step takes this fraction, times the learning rate, off each weight.",
        unit="fraction",
        default_help="0.004",
        at_least=0,
        at_most=_MOST_RATE,
        only_with=("optimizer", ("adamw",)),
        group=Group.OPTIMIZER,
        decides=Decides.COMPUTATION,
    )
    average_decay: float | None = setting(
        None,
        help="Decay per step of a moving average of the weights. The averaged weights are then "
        "validated, tested and saved as the model.",
        unit="fraction",
        default_help="no average",
        at_least=0,
        below=1,
        group=Group.OPTIMIZER,
        decides=Decides.COMPUTATION,
    )
    label_smoothing: float = setting(
        0.0,
        help="Part of each label that is spread evenly over all classes.",
        unit="fraction",
        at_least=0,
        below=1,
        only_with=("loss", ("categorical_crossentropy",)),
        group=Group.NETWORK,
        decides=Decides.COMPUTATION,
    )
    schedule: str = setting(
        "constant",
        help="How the learning rate changes over all epochs. cosine: down to 0 along half a "
        "cosine. one_cycle: a long warm-up, then a cosine down.",
        choices=SCHEDULES,
        group=Group.OPTIMIZER,
        decides=Decides.COMPUTATION,
        in_every_recipe=True,
    )
    warmup_steps: int | None = setting(
        None,
        help="Steps in which the learning rate rises to its largest value.",
        unit="steps",
        default_help="0; with --schedule=one_cycle 30 % of all steps",
        at_least=0,
        group=Group.OPTIMIZER,
        decides=Decides.COMPUTATION,
    )
    augment_shift: float = setting(
        0.0,
        help="Largest distance by which a training image is moved at random.",
        unit="pixels",
        at_least=0,
        at_most=20,  # Larger ones move digits out of the image.
        group=Group.AUGMENTATION,
        decides=Decides.COMPUTATION,
    )
    augment_rotation: float = setting(
        0.0,
        help="Largest angle by which a training image is rotated at random.",
        unit="degrees",
        at_least=0,
        at_most=360,
        group=Group.AUGMENTATION,
        decides=Decides.COMPUTATION,
    )
    augment_scale: float = setting(
        0.0,
        help="Largest fraction by which a training image is enlarged or shrunk at random.",
        unit="fraction",
        at_least=0,
        below=1,
        group=Group.AUGMENTATION,
        decides=Decides.COMPUTATION,
    )
    augment_shear: float = setting(
        0.0,
        help="Largest angle by which a training image is sheared at random.",
        unit="degrees",
        at_least=0,
        at_most=60,  # Close to 90 nothing is left of the image.
        group=Group.AUGMENTATION,
        decides=Decides.COMPUTATION,
    )
    augment_elastic: float = setting(
        0.0,
        help="Standard deviation of the random displacements that deform a training image.",
        unit="pixels",
        at_least=0,
        at_most=20,
        group=Group.AUGMENTATION,
        decides=Decides.COMPUTATION,
    )
    batch_size: int = setting(
        200,
        help="Images in a batch, which all devices share. Each batch is one step.",
        unit="images",
        at_least=1,
        group=Group.USUAL,
        decides=Decides.COMPUTATION,
        in_every_recipe=True,
    )
    batch_parts: int | str = setting(
        "auto",
        help="Parts into which each batch is cut, to compute them in parallel on the processor's "
        "cores. auto: the fastest number on this machine.",
        unit="parts",
        at_least=1,
        at_most=256,  # The graph of the step holds each part.
        group=Group.DEVICES,
        decides=Decides.COMPUTATION,
    )
    gradient_accumulation_steps: int = setting(
        1,
        help="Steps whose mean gradient makes one update of the weights.",
        unit="steps",
        at_least=1,
        at_most=10**9,  # Keras counts them in 32 bits.
        group=Group.OPTIMIZER,
        decides=Decides.COMPUTATION,
    )
    epochs: int = setting(
        30,
        help="Passes over the training images, counted from the run's start. More of them extend a "
        "finished run.",
        unit="epochs",
        at_least=1,
        at_most=10**9,  # The number of a step has 64 bits.
        group=Group.USUAL,
        decides=Decides.LENGTH,
    )
    shuffle: bool = setting(
        False,
        help="Take the images in another random order each epoch, a pure function of --seed and "
        "epoch.",
        group=Group.DATA,
        decides=Decides.COMPUTATION,
        in_every_recipe=True,
    )
    seed: int = setting(
        0,
        help="Seed of the initial weights, the order of the images and their augmentation.",
        unit="no unit",
        at_least=0,
        at_most=2**32 - 1,  # NumPy's seeds have 32 bits.
        group=Group.DATA,
        decides=Decides.COMPUTATION,
        in_every_recipe=True,
    )
    validation_examples: int = setting(
        0,
        help="Number of the last training images that are held out for validation. The best "
        "checkpoint is chosen on them.",
        unit="images",
        at_least=0,
        group=Group.DATA,
        decides=Decides.COMPUTATION,
        in_every_recipe=True,
    )
    early_stopping_patience: int = setting(
        0,
        help="Epochs without a lower loss on the --validation_examples after which the run ends. "
        "0: it trains all --epochs.",
        unit="epochs",
        at_least=0,
        group=Group.OPTIMIZER,
        decides=Decides.COMPUTATION,
    )
    log_every_steps: int = setting(
        100,
        help="Steps between two steps that are printed and logged.",
        unit="steps",
        at_least=1,
        group=Group.USUAL,
        decides=Decides.RECORDS,
    )
    sinks: tuple[str, ...] | None = setting(
        None,
        help="Where the values of the logged steps go besides TensorBoard, separated by commas. "
        "csv, jsonl: steps.csv and steps.jsonl in the run's directory. mlflow: the server of "
        "MLFLOW_TRACKING_URI, or mlflow.db in --logdir. wandb: Weights & Biases, with WANDB_MODE "
        "and the project WANDB_PROJECT. aim: the Aim repository in --logdir.",
        choices=SINKS,
        default_help="TensorBoard alone",
        group=Group.REPORTS,
        decides=Decides.DISPLAY,
    )
    checkpoint_every_steps: int | None = setting(
        None,
        help="Steps between two checkpoints.",
        unit="steps",
        default_help="one epoch",
        at_least=1,
        group=Group.CHECKPOINTS,
        decides=Decides.RECORDS,
    )
    checkpoint_every_minutes: float | None = setting(
        None,
        help="Minutes between two checkpoints, in addition to those by steps.",
        unit="minutes",
        default_help="none by time",
        above=0,
        group=Group.CHECKPOINTS,
        decides=Decides.RECORDS,
    )
    keep_checkpoints: int = setting(
        3,
        help="Number of the newest checkpoints that are kept, in addition to the best.",
        unit="checkpoints",
        at_least=1,
        group=Group.CHECKPOINTS,
        decides=Decides.RECORDS,
    )
    keep_best_checkpoints: int = setting(
        1,
        help="Number of the best checkpoints that are kept, by the loss on --validation_examples.",
        unit="checkpoints",
        at_least=1,
        group=Group.CHECKPOINTS,
        decides=Decides.RECORDS,
    )
    keep_every_steps: int | None = setting(
        None,
        help="Checkpoints at multiples of this number of steps are never deleted.",
        unit="steps",
        default_help="no such checkpoints",
        at_least=1,
        group=Group.CHECKPOINTS,
        decides=Decides.RECORDS,
    )
    start_from: str | None = setting(
        None,
        help="Directory of another run. The new run begins with the weights and the optimizer's "
        "state of its newest checkpoint, and trains its own --epochs at its own --learning_rate.",
        default_help="a new network",
        form=DIRECTORY,
        group=Group.CHECKPOINTS,
        decides=Decides.COMPUTATION,
    )
    steps_per_execution: int | str = setting(
        "auto",
        help="Steps that one call of the device runs. No value changes a number that is logged, "
        "saved or printed.",
        unit="steps",
        at_least=1,
        group=Group.DEVICES,
        decides=Decides.SPEED,
    )
    report: bool = setting(
        True,
        help="Write report.html, one page that shows the results of the run.",
        group=Group.REPORTS,
        decides=Decides.DISPLAY,
    )
    chart_layout: bool = setting(
        True,
        help="TensorBoard: group the curves on the custom scalars page.",
        group=Group.REPORTS,
        decides=Decides.DISPLAY,
    )
    run_text: bool = setting(
        True,
        help="TensorBoard: show recipe, versions, machine and command as text.",
        group=Group.REPORTS,
        decides=Decides.DISPLAY,
    )
    hparams: bool = setting(
        True,
        help="TensorBoard: show the recipe next to the final metrics.",
        group=Group.REPORTS,
        decides=Decides.DISPLAY,
    )
    network_graph: bool = setting(
        True,
        help="TensorBoard: show the graph of the network.",
        group=Group.REPORTS,
        decides=Decides.DISPLAY,
    )
    memory_usage: bool = setting(
        True,
        help="TensorBoard: show the present and the peak memory of the process each epoch, in MiB.",
        group=Group.REPORTS,
        decides=Decides.DISPLAY,
    )
    weight_norms_every_epochs: int = setting(
        5,
        help="TensorBoard: epochs between two records of each layer's norm and relative update. "
        "0: none.",
        unit="epochs",
        at_least=0,
        group=Group.REPORTS,
        decides=Decides.DISPLAY,
    )
    pictures_every_epochs: int = setting(
        30,
        help="TensorBoard: epochs between two sets of pictures (mistakes, confusion matrix, input, "
        "first layer) with precision and recall of each class. The last epoch has a set too, and "
        "the first epoch has the input. 0: none.",
        unit="epochs",
        at_least=0,
        group=Group.REPORTS,
        decides=Decides.DISPLAY,
    )
    histograms_every_epochs: int = setting(
        0,
        help="TensorBoard: epochs between two sets of histograms of weights and gradients. "
        "0: none.",
        unit="epochs",
        at_least=0,
        group=Group.REPORTS,
        decides=Decides.DISPLAY,
    )
    pr_curves_every_epochs: int = setting(
        0,
        help="TensorBoard: epochs between two sets of precision-recall curves. 0: none.",
        unit="epochs",
        at_least=0,
        group=Group.REPORTS,
        decides=Decides.DISPLAY,
    )
    projector: bool = setting(
        False,
        help="TensorBoard: show images as points, placed by the last hidden layer.",
        group=Group.REPORTS,
        decides=Decides.DISPLAY,
    )
    profile_steps: str | None = setting(
        None,
        help="TensorBoard: first and last step to profile, as 100-120, counted over all epochs.",
        default_help="no profile",
        form=STEP_RANGE,
        group=Group.DIAGNOSTICS,
        decides=Decides.DISPLAY,
    )
    dtype_policy: str = setting(
        "float32",
        help="Keras dtype policy of the layers.",
        choices=DTYPE_POLICIES,
        group=Group.NETWORK,
        decides=Decides.COMPUTATION,
        in_every_recipe=True,
    )
    distribution: str = setting(
        "auto",
        help="Devices and machines that share each batch. mirrored: all GPUs of this machine. "
        "multi_worker: the machines that TF_CONFIG, MNIST_KERAS_WORKERS or Slurm name. auto: all "
        "that are found.",
        choices=DISTRIBUTIONS,
        group=Group.DEVICES,
        decides=Decides.SPEED,
    )
    cpu_devices: int = setting(
        1,
        help="Number of devices into which the processor is divided if there is no GPU, to try out "
        "--distribution=mirrored.",
        unit="devices",
        at_least=1,
        at_most=128,  # Each has threads and a copy of the network.
        group=Group.DEVICES,
        decides=Decides.SPEED,
    )
    data_partitions: int = setting(
        1,
        help="Equal partitions of the training images, and so of their shards. Each batch takes "
        "equally many images from each. If the workers are as many, or a divisor of it, the disk "
        "of each worker only needs its own partitions: the first worker's the first ones.",
        unit="partitions",
        at_least=1,
        group=Group.DATA,
        decides=Decides.COMPUTATION,
    )
    json: bool = setting(
        False,
        help="--mode=predict, export: print a line of JSON for each file.",
        group=Group.MODES,
        decides=Decides.COMMAND,
    )
    contact_sheet: str | None = setting(
        None,
        help="--mode=predict: PNG file to write. It shows the digits found on each photo and the "
        "network's input for each of them.",
        default_help="no file",
        form=PNG_FILE,
        group=Group.MODES,
        decides=Decides.COMMAND,
    )
    formats: tuple[str, ...] = setting(
        FORMATS,
        help="--mode=export: formats to write, separated by commas.",
        choices=FORMATS,
        group=Group.MODES,
        decides=Decides.COMMAND,
    )
    export_dir: str | None = setting(
        None,
        help="--mode=export: directory to write to.",
        default_help="export in the run's directory",
        form=DIRECTORY,
        group=Group.MODES,
        decides=Decides.COMMAND,
    )
    debug: bool = setting(
        False,
        help="Show tracebacks and TensorFlow's own messages.",
        own_on_each_worker=True,
        group=Group.DIAGNOSTICS,
        decides=Decides.COMMAND,
    )
    paths: tuple[str, ...] = setting(
        (),
        help="Arguments that are not flags: files to read, or directories of runs.",
        is_flag=False,
        group=Group.MODES,
        decides=Decides.COMMAND,
    )

    def __post_init__(self) -> None:
        declared = settings(RunConfig).values()
        for it in declared:
            check_value(it, getattr(self, it.name))
        for it in declared:
            check_companion(it, self)
        if self.early_stopping_patience and not self.validation_examples:
            raise UsageError(
                "--early_stopping_patience has no loss to watch. Received: "
                f"--early_stopping_patience={self.early_stopping_patience} without "
                "--validation_examples. Expected: --validation_examples of at least 1."
            )
        if self.mode == "predict" and not self.paths:
            raise UsageError(
                "--mode=predict has nothing to read. Received: no file. "
                "Expected: --mode=predict FILES, photos or IDX files."
            )
