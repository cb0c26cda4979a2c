"""The Python file and the notebook of examples/, on the recordings that ship and on files that the program has just written.

Run by tests/python/run.sh, which has pandas and matplotlib. The first argument is the program.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "examples"))
import drllm_tui


def recordings():
    for path in sorted((ROOT / "assets/traces").glob("*.jsonl")):
        trace = drllm_tui.read_trace(path)
        answer = trace.tokens[trace.tokens.part == "answer"]
        assert len(answer) == trace.summary["tokens"], path
        assert abs(answer.depth.mean() - trace.summary["mean_depth"]) < 1e-9, path
        # Executions by layer are the programs' own; a looped program may run a layer more than twice.
        drawn = trace.map()
        assert drawn.shape == (trace.layers, len(answer)), path
        for position, program in zip(answer.position, answer.program):
            layers = drllm_tui.expand(program)
            assert all(min(layers.count(layer), 2) == n for layer, n in drawn[position].items()), (path, position)
        assert ((trace.rates().sum(axis=1) - 1).abs() < 1e-9).all(), path
        asked = trace.decisions.dropna(subset=["skip"])
        assert ((asked[drllm_tui.ACTIONS].sum(axis=1) - 1).abs() < 1e-4).all(), path
    routed = drllm_tui.read_trace(ROOT / "assets/traces/sky-depth.trace.jsonl")
    assert routed.calibration.depth.is_monotonic_increasing and (routed.decisions.by == "router").any()
    assert drllm_tui.read_trace(ROOT / "assets/traces/loopmoe-sort.trace.jsonl").calibration is None


def programs():
    assert drllm_tui.expand("0-2 7x2,(4-5)x2 9x3~0.5") == [0, 1, 2, 7, 7, 4, 5, 4, 5, 9, 9, 9]
    assert drllm_tui.expand("") == []


def fresh_files(program):
    """Of the model inside the program, which needs no download."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        questions = folder / "q.jsonl"
        lines = [{"id": f"q{i}", "question": f"calc {i} + 1 =", "choices": [str(i + 1), "0"], "answer": 0} for i in range(4)]
        questions.write_text("".join(json.dumps(line) + "\n" for line in lines))

        def run(*arguments):
            command = [program, *map(str, arguments), "--model", "loopmoe"]
            return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout

        run("search", "--data", questions, "--simulations", 6, "--out", folder / "records.jsonl")
        header, records = drllm_tui.read_records(folder / "records.jsonl")
        assert header["layers"] == 12 and set(records.id) == {f"q{i}" for i in range(4)}
        assert records.groupby("id").best.sum().le(1).all() and (~records.best | records.correct).all()
        report = folder / "report.json"
        options = ["--routers", "none", "--program", "0-10", "--outcomes", folder / "o.jsonl", "--format", "json"]
        report.write_text(run("eval", "--data", questions, *options))
        about, rows = drllm_tui.read_report(report)
        _, outcomes = drllm_tui.read_outcomes(folder / "o.jsonl")
        assert list(rows.method) == ["base", "program 0-10"] and about["scoring"] == "sum"
        means = outcomes.groupby("method").correct.mean()
        assert all(abs(means[row.method] - row.accuracy) < 1e-9 for row in rows.itertuples())


def refusals():
    for read in [drllm_tui.read_trace, drllm_tui.read_records, drllm_tui.read_outcomes, drllm_tui.read_report]:
        for text in ["", "{}", "[1]\n", "no\n", '{"type": "token"}\n']:
            with tempfile.TemporaryDirectory() as name:
                path = Path(name) / "file"
                path.write_text(text)
                try:
                    read(path)
                except ValueError:
                    continue
                raise AssertionError(f"{read.__name__} takes {text!r}")


def notebook():
    os.chdir(ROOT / "examples")
    cells = json.loads(Path("runs.ipynb").read_text())["cells"]
    names = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
    figures = [plt.figure(number) for number in plt.get_fignums()]
    assert len(figures) == 3 and all(axes.has_data() for figure in figures for axes in figure.axes)
    with tempfile.TemporaryDirectory() as name:
        for number, figure in enumerate(figures):
            picture = Path(name) / f"{number}.png"
            figure.savefig(picture)
            assert picture.stat().st_size > 5000


if __name__ == "__main__":
    recordings()
    programs()
    fresh_files(sys.argv[1])
    refusals()
    notebook()
    print("examples/drllm_tui.py and examples/runs.ipynb: all as it should be")
