"""Printing: tables in pipes and on narrow terminals, literal text; and what laperm doctor prints."""

import io

from rich import box
from rich.table import Table

from laperm_jax.lab.cli import app
from laperm_jax.lab.cli.output import Output

NAME = "encoder/blocks/11/attention/query/kernel"


def table():
    found = Table(box=box.SIMPLE, caption="what it means")
    found.add_column("layer")
    for title in ("vectors", "fan-in", "std", "SoWP", "normal", "uniform"):
        found.add_column(title, justify="right")
    found.add_row(f"{NAME}[bold]", "1,024", "1,024", "0.0312", "0.9987", "0.012", "0.271")
    return found


def printed(**options):
    file = io.StringIO()
    Output(file=file, **options).print_table(table())
    return file.getvalue()


def test_tables_in_a_pipe_have_one_whole_line_for_each_row():
    for width in (10, 40, 80):
        (line,) = (line for line in printed(width=width).splitlines() if "encoder" in line)
        assert line.split() == [f"{NAME}[bold]", "1,024", "1,024", "0.0312", "0.9987", "0.012", "0.271"]


def test_tables_on_a_narrow_terminal_lose_nothing():
    text = printed(width=44, force_terminal=True, color_system=None)
    lines = text.splitlines()
    assert lines[0] == f"{NAME}[bold]"
    assert all(len(line.rstrip()) <= 44 for line in lines[1:])
    words = " ".join(text.split())
    assert "vectors 1,024, fan-in 1,024, std 0.0312, SoWP 0.9987, normal 0.012, uniform 0.271" in words
    assert words.endswith("what it means")


def test_tables_on_a_wide_terminal_are_tables():
    assert f"{NAME}[bold]  " in printed(width=120, force_terminal=True, color_system=None)


def test_text_in_a_pipe_is_not_folded():
    file = io.StringIO()
    Output(file=file, width=10).print("[red]a path with :smile: of more than ten characters[/red]")
    assert file.getvalue() == "[red]a path with :smile: of more than ten characters[/red]\n"


def test_doctor_prints_versions_devices_and_how_to_get_what_is_missing(tmp_path, capsys):
    assert app.main(["doctor", "--data-dir", str(tmp_path)]) == 0
    output = capsys.readouterr().out
    subjects = [line.split()[0] for line in output.partition("\n\n")[0].splitlines()]
    assert {"laperm-jax", "python", "jax", "jaxlib", "devices", "native", "mnist", "cifar10"} <= set(subjects)
    assert f"not prepared in {tmp_path}/mnist" in output
    assert "  laperm data prepare mnist\n" in output


def test_doctor_does_not_call_a_damaged_dataset_nothing_missing(tmp_path, capsys):
    folder = tmp_path / "mnist" / "3.0.1"
    folder.mkdir(parents=True)
    (folder / "dataset_info.json").write_text("{")
    assert app.main(["doctor", "--data-dir", str(tmp_path)]) == 0
    output = capsys.readouterr().out
    assert f"the description of mnist in {tmp_path} cannot be read" in output
    assert "  remove the folder of mnist, then laperm data prepare mnist\n" in output


def test_doctor_says_why_there_are_no_devices(capsys, monkeypatch):
    import jax

    def broken():
        raise RuntimeError("no driver\nand more")

    monkeypatch.setattr(jax, "devices", broken)
    assert app.main(["doctor"]) == 0
    assert "JAX finds none: no driver\n" in capsys.readouterr().out
