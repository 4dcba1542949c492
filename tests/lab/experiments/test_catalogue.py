"""The catalogue: every run can be made and is a run of its own, every claim can be judged, and it imports fast."""

import subprocess
import sys
from pathlib import Path

import pytest

from laperm_jax.lab.config import check, make_config
from laperm_jax.lab.config.scores import SCORES
from laperm_jax.lab.experiments.catalogue import EXPERIMENTS
from laperm_jax.lab.experiments.core import Experiment, Method, Variant
from laperm_jax.lab.experiments.grid import Grid
from laperm_jax.lab.experiments.table import Table
from tests.lab.experiments.helpers import write_results

RESULTS = Path(__file__).parents[3] / "results"
SUMMARY = {
    **dict.fromkeys(("train_seconds", "steps", "syncs", "val_loss", "examples_per_second", "test_accuracy_start"), 1.0),
    **dict.fromkeys(("profile_similarity_initial", "profile_similarity_free", "val_accuracy"), 0.99),
}
every_scale = pytest.mark.parametrize("scale", ["smoke", "cpu", "full"])
every_experiment = pytest.mark.parametrize("experiment", EXPERIMENTS.values(), ids=lambda experiment: experiment.name)


def test_cells_are_every_network_with_every_variant_and_seed():
    tiny = Experiment(
        name="tiny",
        title="Tiny",
        question="Does it run?",
        networks={"smoke": {"mlp": make_config(steps=6), "Wide, mlp": make_config(widths=(16,), steps=6)}},
        variants=(Variant("k = 2", settings={"sync_period": 2}), Variant("Inner alone", Method.INNER, start="k = 2")),
        claims=(),
        seeds={"smoke": 2},
    )
    cells = list(tiny.cells("smoke"))
    assert len(cells) == len({cell.folder for cell in cells}) == len({cell.key for cell in cells}) == 8
    assert (str(cells[3].folder), str(cells[3].start)) == ("wide-mlp/inner-alone/seed-0", "wide-mlp/k-2/seed-0")
    assert cells[3].config == make_config(widths=(16,), steps=6, sync_period=None)
    assert {cell.config.seed for cell in cells} == {0, 1}
    assert len(list(tiny.cells("smoke", seeds=1))) == 4


@every_scale
@every_experiment
def test_every_cell_can_be_made_and_has_settings_of_its_own(experiment, scale):
    cells = list(experiment.cells(scale, seeds=1))
    assert len({cell.folder for cell in cells}) == len({cell.key for cell in cells}) == len(cells) > 1
    for cell in cells:
        check(cell.config)
        assert (cell.config.sync.sync_period is None) == (cell.variant.method in (Method.INNER, Method.FROZEN))
        assert cell.start is None or cell.start in {other.folder for other in cells}


@pytest.mark.nightly
@every_scale
@every_experiment
def test_every_claim_is_judged_or_left_open(tmp_path, experiment, scale):
    score = lambda cell: {f"test_{SCORES[cell.config.task]}": 0.9}
    results = write_results(tmp_path, experiment, scale, lambda cell: SUMMARY | score(cell), seeds=2)
    for claim, judgement in results.judgements():
        ours = ("supported", "not supported", "inconclusive")
        published = ("reproduced", "partly reproduced", "not reproduced", "inconclusive")
        words = ("too small to judge",) if scale == "smoke" else published if claim.source else ours
        assert judgement.verdict in words
        assert "nan" not in judgement.measured


@every_experiment
def test_a_claim_is_left_open_while_runs_are_missing(tmp_path, experiment):
    """Results of one cell alone decide at most a claim that is about this cell, and are no error."""
    first = next(experiment.cells("cpu"))
    score = {f"test_{SCORES[first.config.task]}": 0.9}
    only_first = lambda cell: SUMMARY | score if cell.key[:2] == first.key[:2] else None
    results = write_results(tmp_path, experiment, "cpu", only_first, seeds=1)
    assert len(results.rows) == 1
    assert len(results.judgements()) == (experiment.name in ("paper-table", "shared-value"))


@pytest.mark.nightly
def test_committed_results_are_of_the_catalogue():
    tables = sorted(RESULTS.glob("*/*.jsonl"))
    assert len(tables) >= 17
    for table in tables:
        found = {run.key for run in Table(table).read()}
        seeds = 1 + max(seed for _, _, seed in found)
        cells = Grid(EXPERIMENTS[table.parent.name], table.stem, seeds, table.parent).cells  # checks settings
        assert found <= {cell.key for cell in cells}


def test_the_catalogue_imports_neither_flax_nor_orbax():
    heavy = ("flax", "orbax", "matplotlib", "scipy.stats", "tensorflow_datasets", "tensorboardX")
    code = f"import sys, laperm_jax.lab.experiments.catalogue; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"
