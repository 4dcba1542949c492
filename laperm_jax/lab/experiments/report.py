"""One page about all experiments: for each a figure, a table, and what its results say about each claim."""

import io
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes as Panel
from matplotlib.figure import Figure

from laperm_jax.lab.config import ConfigError, resolve, settings
from laperm_jax.lab.config.names import ScaleName
from laperm_jax.lab.config.scores import format_score
from laperm_jax.lab.experiments.catalogue import EXPERIMENTS, Claim, Experiment, Judgement, Results
from laperm_jax.lab.runs.plots import FREE, RECONNECTED, tidy

_KINDS = (("_free", "free weights", FREE), ("", "reconnected weights", RECONNECTED))
_INK = "#010203"  # stands for the colour of the page's text, which a reader may have light or dark


class Section(NamedTuple):
    """An experiment and its results at the largest scale that was run, with the judgements on its claims."""

    experiment: Experiment
    results: Results
    judgements: list[tuple[Claim, Judgement]]


def sections(folder: Path) -> list[Section]:
    """The experiments with results in ``folder/NAME/SCALE``, in the order of the catalogue.

    A claim that some runs are still missing for (the mean of none is NaN) is not judged.

    Raises:
      ConfigError: if there is none.
    """
    found = []
    for experiment in EXPERIMENTS.values():
        scales = [scale for scale in typing.get_args(ScaleName) if (folder / experiment.name / scale).is_dir()]
        if scales and (results := Results(experiment, scales[-1], folder / experiment.name / scales[-1])).runs:
            judgements = [(claim, claim.judge(results)) for claim in experiment.claims]
            complete = [(claim, made) for claim, made in judgements if made and "nan" not in made.measured]
            found.append(Section(experiment, results, complete))
    if not found:
        raise ConfigError(f"there are no results in {folder}: run `laperm experiment run NAME`, or give --results")
    return found


def write(out: Path, folder: Path) -> None:
    """Writes the page: one HTML file that needs no network.

    Args:
      out: the file.
      folder: where the results are.

    Raises:
      ConfigError: if there are no results, or the file cannot be written.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("report.html").render(sections=[_context(section) for section in sections(folder)])
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(page)
    except OSError as error:
        raise ConfigError(f"--out {out} cannot be written: {error.strerror}") from None


def table(results: Results) -> tuple[list[str], list[list[str]]]:
    """Titles and rows of the results: a row for each network and variant, means over the seeds."""
    titles = ["network", "variant", "seeds", f"test {results.score}", "free weights"]
    return [*titles, *results.experiment.metrics.values()], [_row(results, *key) for key in results.runs]


def _context(section: Section) -> dict[str, Any]:
    experiment, results, judgements = section
    runs = [run for runs in results.runs.values() for run in runs]
    titles, rows = table(results)
    return {
        "experiment": experiment,
        "scale": results.scale,
        "judgements": judgements,
        "figures": [
            _svg(results, network, draw)
            for network in results.networks
            for draw in (_against_setting if experiment.x else _by_variant, _curves)
            if draw is not _curves or (experiment.curves and _epochs(results, network) > 1)
        ],
        "settings": {network: _settings(results, network) for network in results.networks},
        "titles": titles,
        "rows": rows,
        "samples": {key: runs[0]["sample"] for key, runs in results.runs.items() if "sample" in runs[0]},
        "device": ", ".join(sorted({run["device"] for run in runs})),
        "dates": sorted({run["date"][:10] for run in runs}),
        "jax": ", ".join(sorted({run["versions"]["jax"] for run in runs})),
    }


def _row(results: Results, network: str, variant: str) -> list[str]:
    values = results.values(network, variant)
    free = results.mean(network, variant, f"test_{results.score}_free")
    if results.score == "accuracy":
        spread = f" ± {100 * values.std(ddof=1):.2f}" if values.size > 1 else ""
        score = f"{100 * values.mean():.2f}{spread} %"
    else:
        spread = f" ± {values.std(ddof=1):.2g}" if values.size > 1 else ""
        score = format_score(results.score, values.mean()) + spread
    others = [_mean(results, network, variant, metric) for metric in results.experiment.metrics]
    return [network, variant, str(values.size), score, format_score(results.score, free), *others]


def _mean(results: Results, network: str, variant: str, metric: str) -> str:
    """Of an entry that some runs may not have."""
    try:
        mean = results.mean(network, variant, metric)
    except KeyError:
        return "-"
    return f"{mean:.2%}" if "accuracy" in metric else f"{mean:,.4g}"


def _settings(results: Results, network: str) -> str:
    """The settings of a network, before a variant replaces some, in a line."""
    config = settings(resolve(results.experiment.networks[results.scale][network]))
    length = f"{config['epochs']} epochs" if config["epochs"] else f"{config['steps']} steps"
    augmented = ", augmented" if config["augment"] else ""
    transformer = config["model"] in ("vit", "transformer")
    size = f" of {config['layers']} blocks and {config['features']} features" if transformer else ""
    return (
        f"{config['model']}{size} on {config['dataset']}{augmented}; {length} of batches of {config['batch_size']}; "
        f"unless the variant says otherwise {config['inner']}, learning rate {config['learning_rate']:g} with schedule "
        f"{config['schedule']}, k = {config['sync_period']}, initial kernels {config['init']}"
    )


def _svg(results: Results, network: str, draw: Callable[[Panel, Results, str, list[str]], None]) -> Markup:
    """A figure of one network, to stand in a page of any colour."""
    variants = [variant for name, variant in results.runs if name == network]
    style: dict[Any, Any] = {
        "svg.fonttype": "none",
        # Several figures in one page need names of their own for what they define.
        "svg.hashsalt": f"{results.experiment.name} {network} {draw.__name__}",
        "font.size": 9,
        **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), _INK),
    }
    with mpl.rc_context(style):
        height = 1.1 + 0.24 * len(variants) if draw is _by_variant else 3.2
        figure = Figure(figsize=(4.6, height), layout="constrained")
        panel = figure.subplots()
        draw(panel, results, network, variants)
        panel.set_title(network, fontsize=9)
        tidy(panel)
        figure.legend(frameon=False, loc="outside upper center", ncols=3)
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    text = file.getvalue()
    return Markup(text[text.index("<svg") :].replace(_INK, "currentColor"))  # made here, from our own names


def _against_setting(panel: Panel, results: Results, network: str, variants: list[str]) -> None:
    """Scores of both kinds of weights against the experiment's setting."""
    x = str(results.experiment.x)
    settings = [np.ravel(results.configs[network, variant][x])[0] for variant in variants]
    for metric, label, color in _KINDS:
        means, errors = _scores(results, network, variants, metric)
        panel.errorbar(settings, means, errors, color=color, marker=".", capsize=2, label=label)
    panel.set(xscale="log", xlabel=x.replace("_", " "), ylabel=_label(results))
    if results.score == "loss" and len(settings) > 1:
        panel.set(yscale="log")
        slope, offset = np.polyfit(np.log(settings), np.log(means), 1)
        line = np.exp(offset) * np.asarray(settings) ** slope
        panel.plot(settings, line, ":", color="0.5", label=f"slope {slope:+.2f}")


def _by_variant(panel: Panel, results: Results, network: str, variants: list[str]) -> None:
    """Scores of both kinds of weights beside the names of the variants."""
    places = -np.arange(len(variants))
    for (metric, label, color), offset in zip(_KINDS, (0.13, -0.13), strict=True):
        means, errors = _scores(results, network, variants, metric)
        panel.errorbar(means, places + offset, xerr=errors, color=color, fmt="o", markersize=4, capsize=2, label=label)
    panel.set_yticks(places, variants)
    panel.set(xlabel=_label(results), ylim=(places[-1] - 0.6, 0.6))
    panel.locator_params(axis="x", nbins=5)


def _epochs(results: Results, network: str) -> int:
    """How many epochs all runs of a network have."""
    return min(len(records) for (name, _), seeds in results.curves.items() if name == network for records in seeds)


def _curves(panel: Panel, results: Results, network: str, variants: list[str]) -> None:
    """Validation score of reconnected weights after each epoch, the mean over the seeds."""
    for number, variant in enumerate(variants):
        seeds, epochs = results.curves[network, variant], _epochs(results, network)
        values = np.array([[record[f"val_{results.score}"] for record in seed[:epochs]] for seed in seeds])
        color = mpl.colormaps["viridis"](0.9 * number / max(1, len(variants) - 1))
        panel.plot(range(1, epochs + 1), _factor(results) * values.mean(axis=0), color=color, marker=".", label=variant)
    panel.set(xlabel="epoch", ylabel=_label(results).replace("test", "validation"))


def _scores(results: Results, network: str, variants: list[str], kind: str) -> tuple[list[float], list[float]]:
    """Means and standard deviations over the seeds, in the unit of the axis."""
    metric = f"test_{results.score}{kind}"
    values = [_factor(results) * results.values(network, variant, metric) for variant in variants]
    return [float(value.mean()) for value in values], [float(value.std()) for value in values]


def _factor(results: Results) -> float:
    return 100 if results.score == "accuracy" else 1


def _label(results: Results) -> str:
    return f"test {results.score}" + (", %" if results.score == "accuracy" else "")
