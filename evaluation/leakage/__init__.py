"""Leak probes: do the tables give the answer away to a reader who does not deserve it?

Each probe is a function in a file of its own that returns its numbers beside what chance would give, and the reasons
in plain words why it does not pass, if any. Thresholds scale with chance and with the number of rows, so that a small
table is not refused for being small. docs/leakage.md says for each what it measures, from where on it refuses, and
what it cannot find.
"""

from evaluation.leakage.candidates import CandidateLeakage, candidate_leakage, rule_passes
from evaluation.leakage.future import FutureLeakage, future_leakage
from evaluation.leakage.order import OrderLeakage, order_leakage
from evaluation.leakage.overlap import OverlapLeakage, overlap_leakage
from evaluation.leakage.probe import LeakProbe, Rate
from evaluation.leakage.repeats import RepeatLeakage, repeat_leakage
from evaluation.leakage.shortcuts import ShortcutReport, shortcut_report
from evaluation.leakage.titles import TitleLeakage, title_leakage

__all__ = [
    "CandidateLeakage",
    "FutureLeakage",
    "LeakProbe",
    "OrderLeakage",
    "OverlapLeakage",
    "Rate",
    "RepeatLeakage",
    "ShortcutReport",
    "TitleLeakage",
    "candidate_leakage",
    "future_leakage",
    "order_leakage",
    "overlap_leakage",
    "repeat_leakage",
    "rule_passes",
    "shortcut_report",
    "title_leakage",
]
