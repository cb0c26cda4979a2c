"""Traces, search records and evaluations of drllm-tui as pandas data frames. One file; copy it to where you need it.

    from drllm_tui import read_trace
    trace = read_trace("run.trace.jsonl")          # of `drllm-tui run --json`
    trace.tokens                                   # a row a token: id, text, depth, milliseconds
    trace.decisions                                # a row a token and layer: action, who decided, probabilities
    trace.calibration                              # depth, KL and agreement at each dial, where the routers carry them

`read_records` takes the file of `drllm-tui search --out`, `read_outcomes` that of `eval --outcomes`, `read_report` what `eval
--format json` printed. docs/trace.md and docs/search-and-training.md of drllm-tui say what the fields are.
"""

from __future__ import annotations

import dataclasses
import json
import os
from typing import Any

import pandas as pd

SCHEMA = 1
ACTIONS = ["skip", "execute", "repeat"]


@dataclasses.dataclass
class Trace:
    """One run: prompt, answer, and what was decided at every token and layer."""

    #: The first line of the file: model, routers, settings, and so on.
    header: dict[str, Any]
    #: The last line: tokens a second, why the answer ended. None of a run that was cut off.
    summary: dict[str, Any] | None
    #: A row a token, the prompt's first: part ("prompt" or "answer"), position, id, text, special, program, depth, ms.
    #: A prompt's tokens share one program; their ms is not known singly.
    tokens: pd.DataFrame
    #: A row for each layer of each chunk (the prompt is one): part, position, layer, action, by, skip, execute, repeat (the
    #: router's probabilities before the dial; missing where none was asked), shadow. Of the prompt at its last position.
    decisions: pd.DataFrame

    @property
    def layers(self) -> int:
        return self.header["model"]["layers"]

    @property
    def text(self) -> str:
        """The answer."""
        answer = self.tokens[(self.tokens.part == "answer") & ~self.tokens.special]
        return "".join(answer.text)

    @property
    def calibration(self) -> pd.DataFrame | None:
        """What each dial of the routers came to on held-out texts: dial, depth, kl, agreement."""
        table = (self.header["routers"] or {}).get("calibration")
        return pd.DataFrame(table["points"]) if table else None

    def map(self) -> pd.DataFrame:
        """Block executions (0, 1, 2) by layer (rows) and position of the answer's tokens (columns)."""
        answer = self.decisions[self.decisions.part == "answer"]
        executions = answer.assign(n=answer.action.cat.codes)
        return executions.pivot(index="layer", columns="position", values="n")

    def rates(self) -> pd.DataFrame:
        """How often each layer was skipped, executed and repeated at the answer's tokens: shares, a row a layer."""
        answer = self.decisions[self.decisions.part == "answer"]
        counts = pd.crosstab(answer.layer, answer.action, normalize="index")
        return counts.reindex(columns=ACTIONS, fill_value=0.0)


def read_trace(path: str | os.PathLike) -> Trace:
    """Reads the JSON lines of `drllm-tui run --json`. ValueError for what is no trace, with the line."""
    lines = _lines(path)
    header = lines[0] if lines else {}
    if header.get("type") != "header" or header.get("schema") != SCHEMA:
        raise ValueError(f"{path}: expected a trace of schema {SCHEMA}, as `drllm-tui run --json` prints it")
    steps = [line for line in lines[1:] if line.get("type") == "token"]
    ends = [line for line in lines[1:] if line.get("type") == "summary"]
    prompt = header["prompt"]
    depth = len(expand(header["program"]))
    rows = [_token("prompt", at, token, header["program"], depth, None) for at, token in enumerate(prompt)]
    rows += [_token("answer", s["position"], s, s["program"], s["depth"], s["ms"]) for s in steps]
    decisions = _decisions("prompt", len(prompt) - 1, header["decisions"])
    for step in steps:
        decisions += _decisions("answer", step["position"], step["decisions"])
    decisions = pd.DataFrame(decisions, columns=DECISION)
    for column in ["action", "shadow"]:
        decisions[column] = pd.Categorical(decisions[column], ACTIONS)
    tokens = pd.DataFrame(rows, columns=["part", "position", "id", "text", "special", "program", "depth", "ms"])
    return Trace(header, ends[-1] if ends else None, tokens, decisions)


DECISION = ["part", "position", "layer", "action", "by", *ACTIONS, "shadow"]


def _token(part, position, token, program, depth, ms):
    return part, position, token["id"], token["text"], bool(token.get("special")), program, depth, ms


def _decisions(part, position, decisions):
    rows = []
    for layer, decision in enumerate(decisions):
        probs = decision.get("probs") or [None] * 3
        rows.append((part, position, layer, decision["action"], decision["by"], *probs, decision.get("shadow")))
    return rows


def expand(program: str) -> list[int]:
    """The layers of a program in its text form, in their order; a damped repeat counts as one."""
    layers: list[int] = []
    for item in program.replace(",", " ").split():
        body, _, times = item.partition("~")[0].partition("x")
        first, _, last = body.strip("()").partition("-")
        layers += list(range(int(first), int(last or first) + 1)) * int(times or 1)
    return layers


def read_records(path: str | os.PathLike) -> tuple[dict[str, Any], pd.DataFrame]:
    """The header of a file of `drllm-tui search`, and a row for each question and program that was run on it: id, task,
    program, depth, correct, margin (missing in records that were imported), best (the shortest right one)."""
    header, *records = _of_type(path, "header", "drllm-tui search --out")
    rows = []
    for record in records:
        for correct, programs in [(True, record["right"]), (False, record["wrong"])]:
            for found in programs:
                program = found["program"]
                best = correct and program == record["best"]
                depth = len(expand(program))
                rows.append((record["id"], record["task"], program, depth, correct, found.get("margin"), best))
    return header, pd.DataFrame(rows, columns=["id", "task", "program", "depth", "correct", "margin", "best"])


def read_outcomes(path: str | os.PathLike) -> tuple[dict[str, Any], pd.DataFrame]:
    """The header of `drllm-tui eval --outcomes`, and a row for each question and method: task, question, method, correct,
    depth, seconds."""
    header, *lines = _of_type(path, "header", "drllm-tui eval --outcomes")
    rows = []
    for line in lines:
        if line["type"] == "answers":
            for o in line["outcomes"]:
                row = (line["task"], line["question"], o["method"], o["correct"], o["depth"], o["seconds"])
                rows.append(row)
    return header, pd.DataFrame(rows, columns=["task", "question", "method", "correct", "depth", "seconds"])


def read_report(path: str | os.PathLike) -> tuple[dict[str, Any], pd.DataFrame]:
    """What `drllm-tui eval --format json` printed: what holds for all rows, and the rows."""
    with open(path, encoding="utf-8") as file:
        report = json.load(file)
    if not isinstance(report, dict) or "rows" not in report:
        raise ValueError(f"{path}: expected a report, as `drllm-tui eval --format json` prints it")
    rows = pd.DataFrame(report.pop("rows"))
    return report, rows


def _lines(path):
    with open(path, encoding="utf-8") as file:
        lines = []
        for number, line in enumerate(file, 1):
            if line.strip():
                try:
                    value = json.loads(line)
                except ValueError as error:
                    raise ValueError(f"{path}, line {number}: {error}; expected one JSON object a line") from None
                if not isinstance(value, dict):
                    raise ValueError(f"{path}, line {number}: expected a JSON object")
                lines.append(value)
    return lines


def _of_type(path, first, source):
    lines = _lines(path)
    if not lines or lines[0].get("type") != first:
        raise ValueError(f"{path}: expected the file of `{source}`, which begins with a line of type {first}")
    return lines
