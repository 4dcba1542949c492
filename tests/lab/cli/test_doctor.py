"""laperm doctor."""

from laperm_jax.lab.cli import app


def test_doctor_prints_versions_devices_and_how_to_get_what_is_missing(tmp_path, capsys):
    assert app.main(["doctor", "--data-dir", str(tmp_path)]) == 0
    output = capsys.readouterr().out
    subjects = [line.split()[0] for line in output.partition("\n\n")[0].splitlines()]
    assert {"laperm-jax", "python", "jax", "jaxlib", "devices", "native", "mnist", "cifar10"} <= set(subjects)
    assert f"not prepared in {tmp_path}/mnist" in output
    assert "  laperm data prepare mnist\n" in output


def test_doctor_says_why_there_are_no_devices(capsys, monkeypatch):
    import jax

    def broken():
        raise RuntimeError("no driver\nand more")

    monkeypatch.setattr(jax, "devices", broken)
    assert app.main(["doctor"]) == 0
    assert "JAX finds none: no driver\n" in capsys.readouterr().out
