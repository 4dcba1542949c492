"""Selecting among results, and the verdicts that follow from them."""

import numpy as np
import pytest

from laperm_jax.lab.config import make_config
from laperm_jax.lab.experiments.catalogue import EXPERIMENTS
from laperm_jax.lab.experiments.core import Experiment, Method, MissingRunsError, Variant
from laperm_jax.lab.experiments.results import Results
from tests.lab.experiments.helpers import write_results

RATES = Experiment(
    name="rates",
    title="Rates",
    question="Which rate?",
    networks={"cpu": {"mlp": make_config(), "wide": make_config(widths=(512,))}},
    variants=(
        Variant("LaPerm, low", settings={"learning_rate": 1e-3}),
        Variant("LaPerm, high", settings={"learning_rate": 1e-2}),
        Variant("Adam", Method.INNER),
        Variant("frozen", Method.FROZEN),
    ),
    claims=(),
)


def test_select_by_method_and_settings(tmp_path):
    results = write_results(tmp_path, RATES, "cpu", lambda cell: {"test_accuracy": 0.5})
    assert len(results.select()) == 8
    assert [row.label for row in results.select("wide", method=Method.LAPERM)] == ["LaPerm, low", "LaPerm, high"]
    assert [row.network for row in results.select(learning_rate=1e-2)] == ["mlp", "wide"]
    assert [row.label for row in results.select("mlp", freeze=("kernel",))] == ["frozen"]
    assert results.select("mlp", learning_rate=3.0) == []
    with pytest.raises(KeyError):
        results.select(no_such_setting=1)


def test_best_is_chosen_on_validation_data(tmp_path):
    def summary(cell):
        low = cell.config.optimizer.learning_rate == 1e-3
        return {"test_accuracy": 0.8 if low else 0.9, "val_accuracy": 0.8 if low else 0.7}

    results = write_results(tmp_path, RATES, "cpu", summary)
    assert results.best("mlp", method=Method.LAPERM).label == "LaPerm, low"
    assert results.gap("mlp", {"method": Method.LAPERM}, {"method": Method.INNER}).mean == pytest.approx(-0.1)


def test_best_is_chosen_over_the_seeds_that_all_have(tmp_path):
    def summary(cell):
        if cell.config.optimizer.learning_rate == 1e-3:
            return {"test_accuracy": 0.8, "val_accuracy": (0.9, 0.7, 0.7)[cell.config.seed]}
        return {"test_accuracy": 0.8, "val_accuracy": 0.85} if cell.config.seed == 0 else None

    results = write_results(tmp_path, RATES, "cpu", summary, seeds=3)
    assert results.best("mlp", method=Method.LAPERM).label == "LaPerm, low"  # on seed 0, though its mean is lower


def test_missing_runs_are_an_error_and_not_a_number(tmp_path):
    results = write_results(
        tmp_path, RATES, "cpu", lambda cell: None if cell.variant.method == Method.INNER else {"test_accuracy": 0.5}
    )
    with pytest.raises(MissingRunsError, match=r"rates has no runs of mlp with \{'method':"):
        results.best("mlp", method=Method.INNER)
    with pytest.raises(MissingRunsError, match="rates lacks runs of mlp"):
        results.all_rows("mlp")


def test_rows_have_their_runs_by_seed(tmp_path):
    results = write_results(tmp_path, RATES, "cpu", lambda cell: {"test_accuracy": cell.config.seed / 10}, seeds=5)
    assert results.rows[0].values().tolist() == [0.0, 0.1, 0.2, 0.3, 0.4]
    assert results.rows[0].values().dtype == np.float64
    assert Results(RATES, "cpu", tmp_path / "nothing").rows == []


@pytest.mark.parametrize(
    ("once", "often", "verdict"),
    [(0.13, 0.6, "reproduced"), (0.4, 0.6, "partly reproduced"), (0.59, 0.6, "not reproduced")],
)
def test_verdict_on_a_single_sync(tmp_path, once, often, verdict):
    at_the_end = lambda cell: cell.config.sync.sync_schedule == "end"
    results = write_results(
        tmp_path,
        EXPERIMENTS["single-sync"],
        "full",
        lambda cell: {"test_accuracy": once if at_the_end(cell) else often},
        seeds=5,
    )
    ((claim, judgement),) = results.judgements()
    assert judgement.verdict == verdict
    assert f"{100 * once:.1f} % against {100 * often:.1f} %" in judgement.measured
    assert "13.8 %" in claim.paper


def test_published_accuracies_are_judged_where_the_training_is_as_long(tmp_path):
    table = EXPERIMENTS["paper-table"]
    results = write_results(tmp_path, table, "cpu", lambda cell: {"test_accuracy": 0.99}, seeds=5)
    assert [(claim.source, judgement.verdict) for claim, judgement in results.judgements()] == [
        ("paper, table of results", "partly reproduced"),  # conv7: the others have 20 epochs of 125
        *[(None, "supported")] * 3,
    ]
    only_conv4 = lambda cell: {"test_accuracy": 0.9} if cell.network == "conv4, 125 epochs" else None
    ((claim, judgement),) = write_results(tmp_path, table, "full", only_conv4, seeds=5).judgements()
    assert (claim.paper, judgement.verdict) == ("89.17%", "reproduced")


@pytest.mark.parametrize(
    ("laperm", "verdicts"),
    [
        (1.64, ["supported"] * 3),
        (1.7, ["not supported", "supported", "not supported"]),
        (1.9, ["not supported"] * 3),
    ],
)
def test_verdict_on_language(tmp_path, laperm, verdicts):
    test = {Method.INNER: 1.6, Method.LAPERM: laperm, Method.FROZEN: 2.4}

    def losses(cell):
        if cell.variant.label == "LaPerm, 0.004, others 0.032":
            return {"test_loss": 1.0, "val_loss": 1.6}  # good on test text, and not chosen
        return {"test_loss": test[cell.variant.method], "val_loss": 1.5}

    results = write_results(tmp_path, EXPERIMENTS["language"], "cpu", losses, seeds=5)
    assert results.score == "loss"
    assert [judgement.verdict for _, judgement in results.judgements()] == verdicts
    assert f"{laperm - 2.4:+.3f} [" in results.judgements()[1][1].measured


def test_rate_of_approximation(tmp_path):
    error = lambda cell: {"test_loss": 4 / cell.config.model.widths[0] ** 2}
    ((_, judgement),) = write_results(tmp_path, EXPERIMENTS["approximation"], "cpu", error).judgements()
    assert judgement.verdict == "reproduced"
    assert judgement.measured.count("0.2 to 0.0031, rate -1.00 [") == 8
