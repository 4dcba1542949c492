"""Figures of the report: what their axes, bars, colours and words say."""

import re

import numpy as np
import pytest
from matplotlib.figure import Figure

from laperm_jax.lab.experiments import figures
from laperm_jax.lab.experiments.catalogue import EXPERIMENTS
from tests.lab.experiments.helpers import write_results

CURVE = [{"val_accuracy": 0.8}, {"val_accuracy": 0.9}]


def draw(draw_, results):
    panel = Figure().subplots()
    draw_(panel, results, results.rows)
    return panel


@pytest.mark.parametrize("accuracy", [0.98, 0.999, 0.1])
def test_small_gaps_of_accuracy_look_small(tmp_path, accuracy):
    value = lambda cell: {"test_accuracy": accuracy - 0.0005 * (cell.variant.label == "inner alone")}
    results = write_results(tmp_path, EXPERIMENTS["dense"], "smoke", value)
    low, high = draw(figures._by_variant, results).get_xlim()
    assert high - low >= 3.9 or accuracy == 0.1  # the free weights score 50 %
    assert low < 100 * accuracy - 0.05
    assert 100 * accuracy < high <= 100.4


def test_bars_are_the_standard_deviation_of_the_table(tmp_path):
    value = lambda cell: {"test_accuracy": 0.9 + 0.01 * cell.config.seed}
    results = write_results(tmp_path, EXPERIMENTS["dense"], "smoke", value, seeds=3)
    means, bars = figures._scores(results, results.rows, "")
    assert means == pytest.approx([91, 91])
    assert bars == pytest.approx(np.ones((2, 2)))


def test_bars_on_a_logarithmic_axis_end_at_the_lowest_seed(tmp_path):
    loss = lambda cell: {"test_loss": 10.0 ** -(4 * cell.config.seed), "test_loss_free": 0.5}
    results = write_results(tmp_path, EXPERIMENTS["approximation"], "smoke", loss, seeds=2)
    panel = draw(figures._against_setting, results)
    assert panel.get_yscale() == "log"
    means, bars = figures._scores(results, results.rows, "", logarithmic=True)
    assert means - bars[0] == pytest.approx(np.full(7, 1e-4))
    assert bars[1] == pytest.approx(results.rows[0].spread())


def test_words_of_a_figure_have_its_scores(tmp_path):
    results = write_results(tmp_path, EXPERIMENTS["sparsity"], "smoke", lambda cell: {"test_accuracy": 0.9}, CURVE)
    scores, curves = figures.of_network(results, "mlp")
    assert 'role="img" aria-label="test accuracy, mlp: keep 100 % 90.00%; keep 70 % 90.00%;' in scores.svg
    assert 'aria-label="validation accuracy after each epoch, mlp"' in curves.svg


def test_legend_has_the_colours_of_the_figures(tmp_path):
    results = write_results(tmp_path, EXPERIMENTS["sparsity"], "smoke", lambda cell: {"test_accuracy": 0.9}, CURVE)
    colors, names = zip(*figures.legend(results), strict=True)
    assert names[:3] == ("free weights", "reconnected weights", "training: keep 100 %")
    assert len(set(colors)) == len(colors) == 9
    drawn = "".join(figure.svg for figure in figures.of_network(results, "mlp"))
    assert set(colors) <= set(re.findall(r"#[0-9a-f]{6}", drawn))
