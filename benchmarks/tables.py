"""Tables in Markdown of the measurements in benchmarks/results."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from laperm_jax.lab.benchmark.bench import milliseconds

_SORTED_BYTES = 32  # of each weight at a sync
PEERS = {"numpy": "NumPy", "torch": "PyTorch", "tensorflow": "TensorFlow", "naive_jax": "argsort(argsort) in JAX"}


def faults(results: dict[str, Any]) -> str:
    rows = (
        f"| {row['fault']} | {row['tried']:,} | {row['survived']:,} | {row['refused']:,} | {row['bits_lost']:,} |"
        for row in results["rows"]
    )
    table = markdown(["fault", "tried", "survived", "refused", "bits lost"], rows)
    return f"{_origin(results, results['command'])}\n\n{table}"


def sharding(results: dict[str, Any]) -> str:
    mb = lambda size: f"{size / 1e6:,.2f}"
    counts = sorted({row["devices"] for row in results["rows"]})
    of = {(row["layout"], row["processes"], row["devices"]): row for row in results["rows"]}
    layouts = list(dict.fromkeys(row["layout"] for row in results["rows"]))

    def of_each_device(what: str, counts: Sequence[int], show: Callable[[dict[str, Any]], str]) -> str:
        rows = (f"| {layout} | {' | '.join(show(of[layout, 1, count]) for count in counts)} |" for layout in layouts)
        return markdown([what, *(f"{count} device{'s' * (count > 1)}" for count in counts)], rows)

    moved = of_each_device("received at a sync, MB", counts, lambda row: mb(sum(row["received_bytes"].values())))
    # One device sorts a block at a time, in a loop, of which the program shows one turn.
    work = of_each_device("weights sorted, millions", counts[1:], lambda row: mb(row["sorted_elements"]))
    memory = of_each_device("weights, gradients and state, MB", counts, lambda row: mb(row["argument_bytes"]))
    big = markdown(
        ["a billion weights on 8 devices, compiled", "GB each", "predicted", "peak", "predicted"],
        (
            f"| {row['layout']} | "
            + " | ".join(
                f"{row[name] / 1e9:.3f}"
                for name in ("argument_bytes", "predicted_argument_bytes", "peak_bytes", "predicted_peak_bytes")
            )
            + " |"
            for row in results["big"]
        ),
    )
    weights = results["rows"][0]["weights"]
    origin = f"{_origin(results, results['command'])} One layer of a transformer, {weights:,} weights; of each device:"
    return f"{origin}\n\n{moved}\n\n{work}\n\n{memory}\n\n{big}"


def training(results: dict[str, Any]) -> str:
    header = ["run", "seeds", "test accuracy", "free weights", "training", "a step"]
    table = markdown(header, (_training_row(row) for row in results["rows"]))
    seconds = f"`laperm train`, from start to end: {results['laperm_train_seconds']:.0f} s."
    return f"{_origin(results, results['command'])}\n\n{table}\n\n{seconds}"


def overhead(results: dict[str, Any]) -> str:
    networks = results["networks"]

    def row(way: str) -> str:
        added = (f"{of[way]['over_adam_alone']:+.1%}" for of in networks.values())
        return f"| {way} | {' | '.join(added)} |"

    ways = [way for way in networks["mlp"] if way != "adam alone"]
    table = markdown(["a step, over Adam alone", *networks], map(row, ways))
    return f"{_origin(results, results['command'])}\n\n{table}"


def keras_loop(results: dict[str, Any]) -> str:
    ways = list(results["rows"][0]["updates_per_second"])

    def row(measured: dict[str, Any]) -> str:
        rates = measured["updates_per_second"]
        bold = (f"**{rates[way]:,.0f}**" if rates[way] == max(rates.values()) else f"{rates[way]:,.0f}" for way in ways)
        ratio = f"{rates[ways[0]] / rates[ways[2]]:.0f}x"
        return f"| {measured['model']}, batch {measured['batch_size']} | {' | '.join(bold)} | {ratio} |"

    keras = [f"Keras, {way}" for way in ways[2:]]
    table = markdown(["updates a second", *ways[:2], *keras, "first over third"], map(row, results["rows"]))
    versions = f"Keras {results['keras']}, TensorFlow {results['tensorflow']}"
    return f"{_origin(results, results['command'])} {versions}:\n\n{table}"


def sync(results: dict[str, Any]) -> str:
    """Beside peers, where they were measured; and our other implementations."""
    present = [name for name in PEERS if f"{name}_ms" in results["models"][0]]
    header = ["model", "weights", "laperm_jax", *(PEERS[name] for name in present), "share of training, k = 100"]
    table = markdown(header, (_sync_row(row, ("sync", *present)) for row in results["models"]))
    models = " ".join(row["model"] for row in results["models"])
    command = f"laperm bench --models {models} --dtype {results['dtype']} --peers --repeats {results['repeats']}"
    names = {results["implementation"]: "sync"} | {name: name for name in ("xla_cpu", "sharded", "reference")}
    ours = markdown(
        ["implementations of ours", *names, "sort of the keys alone"],
        (
            f"| {row['model']} | "
            + " | ".join(milliseconds(row.get(f"{name}_ms")) for name in (*names.values(), "keys_sort"))
            + " |"
            for row in results["models"]
        ),
    )
    series = ", ".join(
        f"{row['weights']:.0e}: {1e6 * row['sync_ms'] / row['weights']:.1f}" for row in results["scaling"]
    )
    rows = [f"Matrices with rows of 1,024, nanoseconds a weight: {series}."] if series else []
    origin = f"{_origin(results, command)} One sync of {results['dtype']}, milliseconds, median [least, most]:"
    return "\n\n".join([origin, table, ours, *rows])


def tpu(results: dict[str, Any]) -> str:
    """Adam alone, then LaPerm, in each cell."""
    mb = lambda size: f"{size / 1e6:,.1f}"

    def row(measured: dict[str, Any]) -> str:
        both = lambda name, show: " / ".join(show(measured[method][name]) for method in ("Adam", "LaPerm"))
        sync = ", ".join(
            f"{kind} {mb(extra)}"
            for kind, size in measured["LaPerm"]["received_bytes"].items()
            if (extra := size - measured["Adam"]["received_bytes"].get(kind, 0)) > 0
        )
        chips = f"{measured['chips']} x {measured['chip']}, {measured['layout'] or 'one chip'}"
        cells = (
            both("compile_seconds", lambda seconds: f"{seconds:.1f}"),
            *(both(name, mb) for name in ("code_bytes", "temporary_bytes", "argument_bytes")),
        )
        return f"| {measured['model']} | {chips} | {' | '.join(cells)} | {sync or 'none'} |"

    header = ["step of", "compiled for", "compiled in, s", "code, MB", "temporaries, MB", "arguments, MB"]
    table = markdown([*header, "a sync receives, MB"], map(row, results["rows"]))
    sorts = markdown(
        ["argsort of (4608, 512) float32", "compiled for", "compiled in, s", "code, MB", "temporaries, MB"],
        (
            f"| {of['argsort']} | {of['chip']} | {of['compile_seconds']:.1f} | {of['code_bytes'] / 1e6:.2f} "
            f"| {mb(of['temporary_bytes'])} |"
            for of in results["sorts"]
        ),
    )
    pods = [f"\n\n{_pods(results['pods'])}"] if results["pods"] else []
    libtpu = f"libtpu {results['libtpu']}"
    origin = (
        f"{_origin(results, results['command'])} Compiled by {libtpu}, never run. Adam alone / with LaPerm, a chip:"
    )
    return "".join([f"{origin}\n\n{table}\n\n{sorts}", *pods])


def _pods(pods: Sequence[dict[str, Any]]) -> str:
    gb = lambda size: f"{size / 1e9:,.2f}"
    methods = ("Adam", "LaPerm", "error feedback")

    def row(measured: dict[str, Any]) -> str:
        each = lambda name: " / ".join(gb(measured[method][name]) for method in methods)
        chips, tokens = measured["fsdp"] * measured["tensor"], measured["tokens"]
        step = 6 * measured["weights"] * tokens / chips / measured["flops"]
        total = lambda method: sum(measured[method]["received_bytes"].values())
        moved = [total(method) - total("Adam") for method in methods[1:]]
        seconds = " / ".join(f"{1e3 * size / measured['link_bandwidth']:,.1f}" for size in moved)
        where = f"{measured['size']} | {measured['pod']}, {measured['fsdp']} x {measured['tensor']}"
        sizes = f"{each('argument_bytes')} | {each('temporary_bytes')} | {' / '.join(map(gb, moved))}"
        sorts = _SORTED_BYTES * measured["weights"] / chips / measured["memory_bandwidth"]
        return f"| {where} | {sizes} | {seconds} | {1e3 * sorts:,.1f} | {1e3 * step:,.0f} |"

    header = ["weights", "chips, FSDP x tensor parallel", "arguments, GB", "temporaries, GB", "a sync receives, GB"]
    table = markdown([*header, "over the links, ms", "sorts at least, ms", "a step at the peak, ms"], map(row, pods))
    links = "over the links: bytes received / bytes a second of a chip's links"
    sorts = f"sorts: {_SORTED_BYTES} bytes x weights / chips / bytes a second of a chip's memory"
    step = "a step: 6 x weights x tokens / chips / operations a second, all as the vendor has them"
    each = "Two sorts read and write 4 bytes of key and 4 of payload, once at least."
    return f"Adam alone / LaPerm / with error feedback, a chip; {links}; {sorts}; {step}. {each}\n\n{table}"


def markdown(header: Sequence[str], rows: Iterable[str]) -> str:
    return "\n".join([f"| {' | '.join(header)} |", "|" + "---|" * len(header), *rows])


def _origin(results: dict[str, Any], command: str) -> str:
    return f"On {results['device']} ({results['date'][:10]}, jax {results['versions']['jax']}; `{command}`)."


def _sync_row(row: dict[str, Any], columns: Sequence[str]) -> str:
    times = {name: row[f"{name}_ms"] for name in columns}
    fastest = min(time for time in times.values() if time is not None)

    def show(name: str, time: float | None) -> str:
        if time is None:
            return "not installed"
        text = f"**{milliseconds(time)}**" if time == fastest else milliseconds(time)
        low, high = map(milliseconds, row["spread_ms"][name])
        return f"{text} [{low}, {high}]"

    shown = (show(*named) for named in times.items())
    share = row["share_of_training"]["100"]
    return f"| {row['model']} | {row['weights']:,} | {' | '.join(shown)} | {'-' if share is None else f'{share:.2%}'} |"


def _training_row(row: dict[str, Any]) -> str:
    mean = lambda name: np.mean(row[name])
    spread = f" ± {np.std(row['test_accuracy'], ddof=1):.2%}" if len(row["seeds"]) > 1 else ""
    accuracy = f"{mean('test_accuracy'):.2%}{spread}"
    times = f"{mean('train_seconds'):.1f} s | {mean('ms_per_step'):.2g} ms"
    return f"| {row['run']} | {len(row['seeds'])} | {accuracy} | {mean('test_accuracy_free'):.2%} | {times} |"


def packing(results: dict[str, Any]) -> str:
    others = ("floats, zstd -19", "floats, xz -9", "ranks, zstd -19", "ranks, xz -9")

    def row(measured: dict[str, Any]) -> str:
        numbers = [
            f"{measured['weights_bytes']:,}",
            f"{measured['packed_bytes']:,}",
            f"{measured['places_bytes']:,}",
            f"{measured['entropy_bytes']:,.0f}",
            f"{measured['places_bytes'] / measured['entropy_bytes'] - 1:+.2%}",
            *(f"{measured[name]:,}" for name in others),
            f"{measured['pack_seconds']:.1f} s",
            f"{measured['unpack_seconds']:.1f} s",
        ]
        return f"| {measured['network']} | {' | '.join(numbers)} |"

    header = ["bytes", "weights", "packed", "of it permutations", "entropy", "over it", *others, "pack", "unpack"]
    return f"{_origin(results, results['command'])}\n\n{markdown(header, map(row, results['rows']))}"


def sync_periods(results: dict[str, Any]) -> str:
    def row(measured: dict[str, Any]) -> str:
        mean = lambda name: float(np.mean(measured[name]))
        shares = [f"{mean(name):.1%}" for name in ("stuck", "moved")]
        accuracies = [f"{mean(name):.2%}" for name in ("test_accuracy", "test_accuracy_free")]
        cells = [str(measured["sync_period"]), *shares, f"{mean('free_distance'):.2f}", *accuracies]
        return f"| {measured['network']} | {' | '.join(cells)} |"

    header = ["network", "k", "stuck", "moved", "distance", "test accuracy", "free weights"]
    table = markdown(header, map(row, results["rows"]))
    title = f"At the first sync, and at the end; means of {len(results['rows'][0]['seeds'])} seeds:"
    return f"{_origin(results, results['command'])} {title}\n\n{table}"


def decomposition(results: dict[str, Any]) -> str:
    names = list(results["rows"][0]["accuracies"])

    def row(measured: dict[str, Any]) -> str:
        accuracies = (np.array(measured["accuracies"][name]) for name in names)
        shares = " / ".join(f"{np.mean(measured['shares'][part]):.1%}" for part in ("values", "places", "residual"))
        cells = (f"{values.mean():.2%} ± {values.std(ddof=1):.2%}" for values in accuracies)
        return f"| {measured['network']}, {measured['trained by']} | {shares} | {' | '.join(cells)} |"

    table = markdown(["network, trained by", "D0 / D1 / D2", *names], map(row, results["rows"]))
    seeds = len(next(iter(results["rows"][0]["accuracies"].values())))
    title = f"Test accuracy, mean and standard deviation of {seeds} seeds:"
    return f"{_origin(results, results['command'])} {title}\n\n{table}"
