"""The report: one page that needs no network, shows what is there, and fits a phone."""

import re
import shutil
import subprocess

import pytest

from laperm_jax.lab.config import ConfigError
from laperm_jax.lab.experiments import report
from laperm_jax.lab.experiments.catalogue import EXPERIMENTS
from tests.lab.experiments.helpers import write_results

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
CURVE = [{"val_accuracy": 0.8}, {"val_accuracy": 0.9}]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A page with every kind of figure: by variant, against a setting, of losses, training curves."""
    folder = tmp_path_factory.mktemp("results")
    accuracy = lambda cell: {"test_accuracy": 0.9}
    write_results(folder, EXPERIMENTS["single-sync"], "smoke", accuracy)
    write_results(folder, EXPERIMENTS["sync-period"], "smoke", accuracy)
    write_results(folder, EXPERIMENTS["sparsity"], "smoke", accuracy, CURVE)
    loss = lambda cell: {"test_loss": 1 / cell.config.model.widths[0]}
    write_results(folder, EXPERIMENTS["approximation"], "smoke", loss)
    sample = lambda cell: {"test_loss": 1.6, "sample": f"<{cell.variant.method}> & I"}
    write_results(folder, EXPERIMENTS["language"], "smoke", sample)
    report.write(folder / "report.html", folder)
    return folder / "report.html"


def test_page_needs_no_network(page):
    text = page.read_text()
    assert not re.findall(r"(?:src|href)=[\"'](?!#)", text.replace("xlink:href", "href"))
    assert "@import" not in text


def test_page_has_each_experiment_with_its_figures(page):
    text = page.read_text()
    names = ("single-sync", "sync-period", "sparsity", "approximation", "language")
    assert all(f'id="{name}"' in text for name in names)
    assert text.count("<svg") == 6  # sparsity has training curves as well
    assert "smoke" in text


def test_contents_lead_to_every_section(page):
    text = page.read_text()
    targets = re.findall(r'href="#([^"]+)"', text)
    assert {"claims", "single-sync", "language"} <= set(targets)
    assert set(targets) <= set(re.findall(r'id="([^"]+)"', text))


def test_tables_are_folded_and_every_figure_has_words(page):
    text = page.read_text()
    assert text.count("<table") == text.count("<details><summary>Table, ") == 5
    assert len(re.findall(r'<svg role="img" aria-label="[^"]+"', text)) == text.count("<svg")


def test_ids_are_unique(page):
    ids = re.findall(r' id="([^"]+)"', page.read_text())
    assert len(ids) == len(set(ids))


def test_samples_are_escaped(page):
    assert "&lt;LaPerm&gt; &amp; I" in page.read_text()


@pytest.mark.parametrize(("epochs", "figures"), [(1, 1), (2, 2)])
def test_training_curves_are_drawn_from_two_epochs_on(tmp_path, epochs, figures):
    write_results(tmp_path, EXPERIMENTS["sparsity"], "smoke", lambda cell: {"test_accuracy": 0.9}, CURVE[:epochs])
    report.write(tmp_path / "report.html", tmp_path)
    assert (tmp_path / "report.html").read_text().count("<svg") == figures


def test_the_largest_scale_is_shown(tmp_path):
    for scale in ("smoke", "full"):
        write_results(tmp_path, EXPERIMENTS["single-sync"], scale, lambda cell: {"test_accuracy": 0.9})
    ((_, results, _),) = report.sections(tmp_path)
    assert results.scale == "full"


def test_no_results(tmp_path):
    with pytest.raises(ConfigError, match=r"there are no results in .*: run `laperm experiment run NAME`"):
        report.write(tmp_path / "report.html", tmp_path)


@pytest.mark.nightly
def test_a_page_that_cannot_be_written(tmp_path, page):
    with pytest.raises(ConfigError, match="cannot be written: Is a directory"):
        report.write(tmp_path, page.parent)


@pytest.mark.nightly
@pytest.mark.skipif(not CHROMIUM, reason="no Chromium is installed")
@pytest.mark.parametrize("width", [360, 1200])
def test_page_fits_a_phone_and_a_desktop(page, tmp_path, width):
    """Nothing of the page sticks out: a script writes how wide the document has become."""
    probe = tmp_path / "probe.html"
    script = "<script>document.title = 'width ' + document.documentElement.scrollWidth + ' of ' + innerWidth</script>"
    frame = f"<iframe id=f style='width:{width}px;height:900px;border:0' srcdoc='SRC'></iframe>"
    inner = (page.read_text().replace("</body>", f"{script}</body>")).replace("&", "&amp;").replace("'", "&#39;")
    outer = "<script>f.onload = () => { document.title = f.contentDocument.title }</script>"
    probe.write_text(frame.replace("SRC", inner) + outer)
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=4000", "--dump-dom"]
    dom = subprocess.run([*command, f"file://{probe}"], check=True, capture_output=True, text=True, timeout=120).stdout
    wide, of = map(int, re.search(r"<title>width (\d+) of (\d+)", dom).groups())
    assert of == width
    assert wide <= width
