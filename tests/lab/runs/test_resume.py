"""Stopped and resumed runs: the same bits, and nothing lost, whatever stopped them."""

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec, SingleDeviceSharding

from laperm_jax.lab.config import ConfigError, make_config, resolve, with_settings
from laperm_jax.lab.runs import run, weights
from laperm_jax.lab.runs.run import train, train_seeds
from laperm_jax.lab.runs.run_folder import facts_of
from laperm_jax.lab.runs.writer import RunWriter
from laperm_jax.lab.training.state import Checkpoint
from tests.lab.training.helpers import small
from tests.reference import bits
from tests.runs import MLP, bits_lost, files, stopped_after

pytestmark = pytest.mark.usefixtures("compiled_once")

CONV = make_config(model="conv2", steps=5, sync_period=2, batch_size=16, reestimate_batchnorm=1)


@pytest.mark.parametrize(
    ("config", "steps"),
    [
        (MLP, [30]),
        *(
            pytest.param(*case, marks=pytest.mark.nightly)
            for case in [(MLP, [1]), (MLP, [19]), (MLP, [56]), (CONV, [3])]
        ),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_run_that_was_stopped_goes_on_to_the_same_bits(config, steps, tmp_path, record_fault):
    train(config, tmp_path / "whole")
    for step in steps:
        with stopped_after(step):
            summary = train(config, tmp_path / "stopped", resume=True)
        assert (summary["status"], summary["steps"]) == ("interrupted", step)
    train(config, tmp_path / "stopped", resume=True)
    lost = bits_lost(tmp_path / "stopped", tmp_path / "whole")
    record_fault("SIGTERM in the middle of an epoch", len(steps), len(steps), lost)
    assert files(tmp_path / "stopped") == files(tmp_path / "whole")


@pytest.mark.nightly
def test_seeds_side_by_side_go_on_together(tmp_path):
    configs = [with_settings(MLP, seed=seed) for seed in (0, 1)]
    outs = lambda name: [tmp_path / name / str(seed) for seed in (0, 1)]
    train_seeds(configs, outs("whole"))
    with stopped_after(25):
        assert [summary["steps"] for summary in train_seeds(configs, outs("stopped"))] == [25, 25]
    train_seeds(configs, outs("stopped"), resume=True)
    for seed in ("0", "1"):
        assert files(tmp_path / "stopped" / seed) == files(tmp_path / "whole" / seed)


@pytest.mark.nightly
def test_seeds_that_have_no_checkpoint_in_common_begin_again(tmp_path):
    alone, together = (with_settings(MLP, seed=seed) for seed in (0, 1))
    with stopped_after(25):
        train(alone, tmp_path / "0")
    summaries = train_seeds([alone, together], [tmp_path / "0", tmp_path / "1"], resume=True)
    assert [summary["steps"] for summary in summaries] == [57, 57]
    assert len((tmp_path / "0" / "metrics.jsonl").read_text().splitlines()) == 3


@pytest.mark.nightly
def test_a_finished_run_is_left_alone(tmp_path, monkeypatch):
    summary = train(MLP, tmp_path / "r", resume=True)  # there is none yet: it begins
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "r").rglob("*")}
    monkeypatch.setattr(run, "build_training", None)
    assert train(MLP, tmp_path / "r", resume=True) == summary
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "r").rglob("*")} == before


@pytest.mark.nightly
def test_a_run_of_other_settings_is_refused(tmp_path):
    train(with_settings(MLP, epochs=1), tmp_path / "r")
    with pytest.raises(ConfigError, match=r"holds a run of other settings \(epochs, sync_period\); give it the same"):
        train(with_settings(MLP, sync_period=5), tmp_path / "r", resume=True)
    with pytest.raises(ConfigError, match="--resume needs --out"):
        train(MLP, resume=True)


@pytest.mark.nightly
def test_a_checkpoint_goes_from_one_device_to_eight_and_back(tmp_path, record_fault):
    """The same gradients on both make the same bits: products of matrices, which round, are left out."""
    config = resolve(with_settings(MLP, sync_period=2))
    run = small(config)
    mesh = jax.make_mesh((8,), ("x",), axis_types=(AxisType.Auto,))
    one = SingleDeviceSharding(jax.devices()[0])
    eight = lambda leaf: NamedSharding(mesh, PartitionSpec(*["x"] * (leaf.ndim > 1 and leaf.shape[0] % 8 == 0)))
    layouts = [lambda leaf: one, eight, lambda leaf: one]
    abstract = jax.eval_shape(run.init_state)

    @jax.jit
    def step(state):
        grads = jax.tree.map(lambda leaf: jnp.roll(leaf, 3).round(1), state.params)
        params, opt_state = run.training.method.optimizer.apply_gradients(grads, state.opt_state, state.params)
        return state._replace(params=params, opt_state=opt_state)

    stays = moves = run.init_state()
    with RunWriter(tmp_path / "r", facts_of(config)) as folder:
        folder.begin()
        for number, layout in enumerate(layouts, start=1):
            stays, moves = step(stays), step(moves)
            folder.save(Checkpoint(moves, [], None, 0.0, 0.0))
            to = lambda leaf, layout=layout: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=layout(leaf))
            moves = folder.read(number, jax.tree.map(to, abstract)).checkpoint.state
            kernel = moves.params["dense1"]["kernel"]
            assert kernel.sharding.is_equivalent_to(layout(kernel), 2)
    ours, theirs = (weights.to_numpy(state) for state in (moves, stays))
    lost = sum(int(np.bitwise_count(bits(ours[path]) ^ bits(theirs[path])).sum()) for path in theirs)
    record_fault("checkpoint restored on another number of devices (1, 8, 1)", 3, 3, lost)


@pytest.mark.nightly
def test_a_checkpoint_that_is_being_written_does_not_see_later_epochs(tmp_path, monkeypatch):
    """Orbax writes in the background; what it is given must not change."""
    given = []
    monkeypatch.setattr(ocp.CheckpointManager, "save", lambda *args, **kwargs: given.append(kwargs["args"]["progress"]))
    train(MLP, tmp_path / "r")
    assert [len(args.item["records"]) for args in given] == [1, 2, 3]


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("scores", "best"),
    [([0.5, 0.2, 0.1, 0.3, 0.4], [1, 1, 1, 1, 1]), ([0.1, 0.5, 0.2, 0.3, 0.5], [1, 2, 2, 2, 5])],
)
def test_the_best_epoch_can_be_read_however_often_a_run_was_stopped(scores, best, tmp_path):
    """A folder that is opened again for each epoch; the last two checkpoints are whole, each with its best epoch."""
    config = resolve(MLP)
    run = small(config)
    state, template, resumed = run.init_state(), jax.eval_shape(run.init_state), None
    for epoch, score in enumerate(scores, start=1):
        state = state._replace(opt_state=state.opt_state._replace(count=jnp.int32(epoch)))
        with RunWriter(tmp_path / "run", facts_of(config), resume=True) as folder:
            folder.begin(resumed)
            folder.add_epoch({"epoch": epoch, "step": epoch, "val_accuracy": score, "first_sync": None})
            folder.save(Checkpoint(state, [], None, 0.0, 0.0))
        with RunWriter(tmp_path / "run", facts_of(config), resume=True) as folder:
            for last in range(max(1, epoch - 1), epoch + 1):
                resumed = folder.read(last, template)
                assert (resumed.best[0], len(resumed.records)) == (best[last - 1], last)
                assert int(resumed.best[1].opt_state.count) == best[last - 1]
            assert len(folder.steps) <= 4
