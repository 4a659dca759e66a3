"""What a config is held against before any work: the data folder, the batch, the stages."""

import difflib
from typing import TYPE_CHECKING, Any

from ganpipe import config as config_lib
from ganpipe import data as data_lib
from ganpipe.errors import UserError
from ganpipe.layers.minibatch_stddev import MinibatchStddev, group_of
from ganpipe.models import registry
from ganpipe.ops import switches
from ganpipe.ops.growth import Growth, Stage
from ganpipe.train import monitor

if TYPE_CHECKING:
    from ganpipe.models.base import GANSystem

PRECISIONS = ("float32", "mixed_bfloat16")
SECTIONS = (
    "name",
    "data",
    "system",
    "optimizer",
    "penalties",
    "tips",
    "monitor",
    "evaluate",
    "growth",
    "train",
)
FOREIGN = ("pipeline",)  # sections that others read


def growth(config: Any) -> Growth:
    """The stages of a config; one at full resolution without a section `growth`.

    Raises:
      UserError: names the key of `growth`, what it holds and what it could hold.
    """
    train, resolution = config.train, config.data.resolution
    section = dict(config.get("growth") or {})
    if not section:
        return Growth.none(resolution, train.batch_size, train.steps)
    unknown = sorted(set(section) - set(config_lib.GROWTH))
    if unknown:
        known = ", ".join(config_lib.GROWTH)
        raise UserError(f"config.growth.{unknown[0]}: unknown. Known: {known}.")
    if train.steps_per_execution < 1 or section.get("repeats", 4) % train.steps_per_execution:
        raise UserError(
            f"--config.growth.repeats={section.get('repeats', 4)}: expected a multiple of "
            f"train.steps_per_execution={train.steps_per_execution}; stages end there."
        )
    return Growth(resolution, train.batch_size, **section)


def with_steps(config: Any, info: "data_lib.DatasetInfo") -> Any:
    """The config with `train.steps` filled in where it is 0: as many as the growth takes.

    Raises:
      UserError: of `check_images`, `growth`.
    """
    if config.train.steps or not config.get("growth"):
        return config
    check_images(config, info)  # first: the stages' sizes follow from theirs
    values = config_lib.to_dict(config)
    values["train"]["steps"] = growth(config).steps
    return config_lib.from_dict(values)


def check_images(config: Any, info: "data_lib.DatasetInfo") -> None:
    """Refuses data whose images the system of the config cannot have.

    Raises:
      UserError: names the key, what it holds and what it could hold.
    """
    data = config.data
    if data.resolution not in info.resolutions:
        raise UserError(
            f"--config.data.resolution={data.resolution}: {info.dir} has "
            f"{', '.join(map(str, info.resolutions))}. Choose one of these, or run `python -m "
            f"pipeline.prepare --resolution={data.resolution}` into another folder."
        )
    levels = [level for level in info.resolutions if level <= data.resolution]
    registry.find(config.system.name).check_sizes(
        [info.shape(level)[:2] for level in levels], config.system
    )
    if data.channels != info.channels:
        raise UserError(
            f"--config.data.channels={data.channels}: the images in {info.dir} have "
            f"{info.channels} channel(s). Set data.channels={info.channels}, or prepare with "
            f"--channels={data.channels}."
        )


def validate(config: Any, info: "data_lib.DatasetInfo") -> None:
    """Refuses impossible combinations before any work.

    Raises:
      UserError: names the key, what it holds and what it could hold.
    """
    for section in config:
        if section not in SECTIONS + FOREIGN:
            close = difflib.get_close_matches(section, SECTIONS, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise UserError(
                f"config.{section}: unknown section.{hint} Known: {', '.join(SECTIONS)}."
            )
    monitor.settings(config.get("monitor"))
    train, data = config.train, config.data
    positive = ("steps", "batch_size", "steps_per_execution", "checkpoint_every", "log_every")
    for key in (*positive, "sample_every"):
        if train[key] < 1:
            raise UserError(f"--config.train.{key}={train[key]}: expected 1 or more.")
    for key in ("steps", "checkpoint_every", "log_every", "sample_every"):
        if train[key] % train.steps_per_execution:
            raise UserError(
                f"--config.train.{key}={train[key]}: expected a multiple of "
                f"train.steps_per_execution={train.steps_per_execution}."
            )
    if train.keep_checkpoints < 2:
        raise UserError(
            f"--config.train.keep_checkpoints={train.keep_checkpoints}: expected 2 or more, one to "
            "fall back on."
        )
    if train.seed < 0:
        raise UserError(f"--config.train.seed={train.seed}: expected 0 or more.")
    if train.precision not in PRECISIONS:
        raise UserError(
            f"--config.train.precision={train.precision}: expected {' or '.join(PRECISIONS)}."
        )
    check_images(config, info)
    if data.conditional and not info.num_classes:
        raise UserError(
            f"--config.data.conditional=True: {info.dir} has no labels. Prepare it from class "
            "sub-folders, or set --config.data.conditional=False."
        )
    n_critic = config.optimizer.get("n_critic", 1)
    if not isinstance(n_critic, int) or n_critic < 1:
        raise UserError(f"--config.optimizer.n_critic={n_critic}: expected 1 or more.")
    # A step's n_critic batches may run across the border of two epochs.
    _check_stages(config, info)
    chosen = tips(config)
    if chosen["replay"] > 0 and train.batch_size > chosen["replay_pool"]:
        raise UserError(
            f"--config.tips.replay_pool={chosen['replay_pool']}: expected at least "
            f"train.batch_size={train.batch_size} images."
        )


def _check_stages(config: Any, info: "data_lib.DatasetInfo") -> None:
    """Refuses stages whose level the data lack, or whose batch is larger than the split."""
    for stage in growth(config).stages:
        if stage.resolution not in info.resolutions:
            raise UserError(
                f"config.growth: the stage of {stage.resolution} pixels has no level in "
                f"{info.dir}, which has {', '.join(map(str, info.resolutions))}. Prepare the data "
                f"again (python -m pipeline.prepare makes all levels down to 4 unless --levels "
                "says otherwise), or set another growth.start_resolution."
            )
        if stage.batch_size > info.count("train"):
            raise UserError(
                f"--config.{_batch_key(config, stage)}={stage.batch_size}: {info.dir} has only "
                f"{info.count('train')} training images; expected a batch no larger than that."
            )


def _batch_key(config: Any, stage: Stage) -> str:
    """The key that sets the batch of a stage."""
    own = (config.get("growth") or {}).get("batch_sizes") or {}
    if str(stage.resolution) in {str(key).removeprefix("px") for key in own}:
        return f"growth.batch_sizes.px{stage.resolution}"
    return "train.batch_size"


def check_replicas(config: Any, strategy: str, replicas: int) -> None:
    """Refuses global batches that the replicas cannot share."""
    for stage in growth(config).stages:
        if stage.batch_size % replicas:
            raise UserError(
                f"--config.{_batch_key(config, stage)}={stage.batch_size} is the global batch; it "
                f"must divide by the {replicas} replicas of --strategy={strategy}."
            )
    if replicas > 1 and tips(config)["replay"] > 0:
        raise UserError(
            f"--config.tips.replay={config.tips.replay}: the pool of past fakes works on one "
            f"replica, --strategy={strategy} has {replicas}; set tips.replay=0 or --strategy=none."
        )


def tips(config: Any) -> dict[str, Any]:
    """The `tips` section with what it lacks."""
    return switches.TIPS | dict(config.get("tips") or {})


def check_batches(system: "GANSystem", config: Any, replicas: int) -> None:
    """Refuses batches of any stage that a replica's discriminators cannot share out equally.

    Raises:
      UserError: they do not divide among the discriminators, or into the groups of D's minibatch
        standard deviation.
    """
    count = len(system.critics) if getattr(system, "own_slices", False) else 1
    layers = system.discriminator._flatten_layers()
    groups = [layer for layer in layers if isinstance(layer, MinibatchStddev)]
    for stage in growth(config).stages:
        batch = stage.batch_size // replicas
        where = f"--config.{_batch_key(config, stage)}"
        if batch % count:
            raise UserError(
                f"{where}: {batch} images on a replica do not divide into slices for {count} "
                f"discriminators; expected a multiple of {count}, another system.discriminators, "
                "or optimizer.own_slices=False."
            )
        for layer in groups:
            try:
                group_of(batch, layer.group_size)
            except UserError as error:
                raise UserError(f"{where}={stage.batch_size}: {error}") from error
