"""What a running command uses of the machine, sampled from outside; MLflow shows it as the run's system metrics."""

import time

import psutil

from assets.lake.ports import Telemetry

EVERY_S = 2.0
MEGABYTE = 1e6


class Usage:
    """Samples a command with every process it started, and the machine around it."""

    def __init__(self, pid: int, every_s: float = EVERY_S) -> None:
        self.pid, self.every_s = pid, every_s
        self.known: dict[int, psutil.Process] = {}
        self.samples = 0
        self.sampled_at = time.monotonic()  # shares of a processor are counted from the first look on
        self._processes()
        psutil.cpu_percent()

    def telemetry(self) -> Telemetry | None:
        """The next sample, as telemetry of kind `system`; None when it is not yet time, or the command has ended."""
        if time.monotonic() - self.sampled_at < self.every_s:
            return None
        self.sampled_at = time.monotonic()
        cpu = memory = 0.0
        processes = self._processes()
        for process in processes:
            try:
                cpu += process.cpu_percent()
                memory += process.memory_info().rss
            except psutil.Error:  # it ended since it was listed
                continue
        if not processes:
            return None
        machine = psutil.virtual_memory()
        self.samples += 1
        metrics = {
            "process_cpu_percentage": cpu,
            "process_memory_megabytes": memory / MEGABYTE,
            "cpu_utilization_percentage": psutil.cpu_percent(),
            "system_memory_usage_megabytes": machine.used / MEGABYTE,
            "system_memory_usage_percentage": machine.percent,
        }
        return Telemetry(self.samples, 0.0, "system", metrics)

    def _processes(self) -> list[psutil.Process]:
        try:
            command = psutil.Process(self.pid)
            found = [command, *command.children(recursive=True)]
        except psutil.Error:
            return []
        for process in found:
            if process.pid not in self.known:
                self.known[process.pid] = process
                try:
                    process.cpu_percent()
                except psutil.Error:
                    continue
        return [self.known[process.pid] for process in found]
