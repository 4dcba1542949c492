"""The report: verdicts follow from the results, and the page looks right in a browser."""

import json
import re
import shutil
import subprocess

import pytest
from rich.console import Console

from laperm_jax.lab.config import ConfigError, resolve, settings
from laperm_jax.lab.config.scores import SCORES
from laperm_jax.lab.experiments import report, runner
from laperm_jax.lab.experiments.catalogue import EXPERIMENTS, Results

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def fake(folder, experiment, scale, accuracies):
    """Results as a run would leave them: ``{(network, variant): entries of the summary for each seed}``."""
    for cell in EXPERIMENTS[experiment].cells(scale):
        entries = accuracies(cell)
        if entries is None:
            continue
        run = folder / experiment / scale / cell.folder
        run.mkdir(parents=True)
        context = {"device": "a test", "date": "2026-01-01T00:00", "versions": {"jax": "0"}}
        free = {f"test_{SCORES[cell.config.task]}_free": 0.5}
        (run / "summary.json").write_text(json.dumps({**free, **context, **entries}))
        (run / "metrics.jsonl").write_text("")
        (run / "config.json").write_text(json.dumps({**settings(resolve(cell.config)), "start": None}))


@pytest.mark.parametrize(
    ("once", "often", "verdict"),
    [(0.13, 0.6, "reproduced"), (0.4, 0.6, "partly reproduced"), (0.59, 0.6, "not reproduced")],
)
def test_the_verdict_on_a_single_sync(tmp_path, once, often, verdict):
    fake(
        tmp_path,
        "single-sync",
        "full",
        lambda cell: {"test_accuracy": once if cell.variant.startswith("one") else often},
    )
    ((_, results, ((claim, judgement),)),) = report.sections(tmp_path)
    assert results.scale == "full"
    assert judgement.verdict == verdict
    assert f"{once:.1%} against {often:.1%}" in judgement.measured
    assert "13.8 %" in claim.paper


def test_the_verdict_on_published_accuracies_needs_the_full_scale(tmp_path):
    fake(tmp_path, "dense", "cpu", lambda cell: {"test_accuracy": 0.99})
    ((_, _, judgements),) = report.sections(tmp_path)
    assert len(judgements) == 1
    fake(tmp_path, "dense", "full", lambda cell: {"test_accuracy": 0.9} if cell.network == "conv4" else None)
    ((_, _, judgements),) = report.sections(tmp_path)
    assert [judgement.verdict for _, judgement in judgements] == ["reproduced", "reproduced"]


def test_a_grid_that_is_not_finished_is_shown_and_not_judged(tmp_path):
    fake(tmp_path, "single-sync", "full", lambda cell: {"test_accuracy": 0.9} if cell.variant == "every k" else None)
    ((_, results, judgements),) = report.sections(tmp_path)
    assert len(results.runs) == 1
    assert judgements == []
    report.write(tmp_path / "report.html", tmp_path)


@pytest.mark.parametrize("experiment", EXPERIMENTS.values(), ids=lambda experiment: experiment.name)
@pytest.mark.parametrize("scale", ["smoke", "cpu", "full"])
def test_every_claim_can_be_judged_or_left_open_at_every_scale(tmp_path, experiment, scale):
    others = ("train_seconds", "steps", "syncs", "val_accuracy", "val_loss", "examples_per_second")
    metrics = dict.fromkeys((*others, "test_accuracy_start"), 1.0)
    similarity = dict.fromkeys(("profile_similarity_initial", "profile_similarity_free"), 0.99)
    score = lambda cell: {f"test_{SCORES[cell.config.task]}": 0.9}
    fake(tmp_path, experiment.name, scale, lambda cell: {**score(cell), **metrics, **similarity})
    results = Results(experiment, scale, tmp_path / experiment.name / scale)
    for claim in experiment.claims:
        judgement = claim.judge(results)
        assert judgement is None or judgement.verdict in ("reproduced", "partly reproduced", "not reproduced")
        assert judgement is None or "nan" not in judgement.measured
    page = tmp_path / "report.html"
    report.write(page, tmp_path)
    assert experiment.title in page.read_text()


@pytest.mark.parametrize(
    ("laperm", "verdict"), [(1.64, "reproduced"), (1.7, "partly reproduced"), (1.79, "not reproduced")]
)
def test_the_verdict_on_language_and_what_is_written(tmp_path, laperm, verdict):
    test = {"Adam": 1.6, "LaPerm": laperm, "kernels frozen": 2.4}

    def entries(cell):
        method, _, other = cell.variant.partition(", 0.004, others")
        losses = {"test_loss": test[method.split(",")[0]], "val_loss": 1.5}
        worse = {"test_loss": 1.0, "val_loss": 1.6}  # good on test text, and not chosen
        return {**(worse if other else losses), "sample": f"<{method.split(',')[0]}> & I"}

    fake(tmp_path, "language", "cpu", entries)
    ((_, results, judgements),) = report.sections(tmp_path)
    assert results.score == "loss"
    assert [judgement.verdict for _, judgement in judgements] == [verdict, "reproduced"]
    assert f"{laperm - 2.4:+.3f} nats" in judgements[1][1].measured
    report.write(tmp_path / "report.html", tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "&lt;LaPerm&gt; &amp; I" in page
    assert "test loss" in page


def test_the_rate_of_approximation(tmp_path):
    fake(tmp_path, "approximation", "cpu", lambda cell: {"test_loss": 4 / cell.config.model.widths[0] ** 2})
    ((_, _, ((_, judgement),)),) = report.sections(tmp_path)
    assert judgement.verdict == "reproduced"
    assert judgement.measured.count("0.2 to 0.0031, rate -1.00") == 8


@pytest.mark.parametrize(("epochs", "figures"), [(1, 1), (2, 2)])
def test_training_curves_are_drawn_from_two_epochs_on(tmp_path, epochs, figures):
    fake(tmp_path, "sparsity", "smoke", lambda cell: {"test_accuracy": 0.9})
    for records in tmp_path.glob("**/metrics.jsonl"):
        records.write_text('{"val_accuracy": 0.9}\n' * epochs)
    report.write(tmp_path / "report.html", tmp_path)
    assert (tmp_path / "report.html").read_text().count("<svg") == figures


def test_no_results(tmp_path):
    with pytest.raises(ConfigError, match=r"there are no results in .*: run `laperm experiment run NAME`"):
        report.write(tmp_path / "report.html", tmp_path)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A page of real results, of a smoke run, and of another experiment's that were made up."""
    folder = tmp_path_factory.mktemp("results")
    assert runner.run(EXPERIMENTS["single-sync"], "smoke", 1, folder / "single-sync" / "smoke", Console(quiet=True))
    fake(folder, "sync-period", "smoke", lambda cell: {"test_accuracy": 0.9})
    report.write(folder / "report.html", folder)
    return folder / "report.html"


def test_the_page_needs_no_network(page):
    text = page.read_text()
    assert not re.findall(r"(?:src|href)=[\"'](?!#)", text.replace("xlink:href", "href"))
    assert "@import" not in text
    assert text.count("<svg") == 2
    assert "smoke" in text


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium is installed")
@pytest.mark.parametrize("width", [360, 1200])
def test_the_page_fits_a_phone_and_a_desktop(page, tmp_path, width):
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
