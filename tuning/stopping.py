"""Signals that announce an end: Slurm's warning before the time limit, a preemption, Ctrl-C, a lost connection."""

from __future__ import annotations

import signal

import script


class Stopped(BaseException):
    """A signal asked for the end. The message says where training stands.

    Like KeyboardInterrupt it is no Exception: what catches the faults of a base model, or a library, lets it pass.
    """


class StopSignals:
    """Takes the signals that announce an end: while training they are remembered, before and after they raise Stopped.

    Once all is done but to say so, they change nothing.
    """

    def __init__(self):
        self.received: str | None = None
        self.training = False
        self.obeyed = False  # whether training ended for it
        self.too_late = False  # whether all is done

    def __enter__(self):
        numbers = [signal.SIGUSR1, signal.SIGTERM, signal.SIGINT]
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # as nohup has it
            numbers.append(signal.SIGHUP)
        self.handlers_before = {number: signal.signal(number, self.take) for number in numbers}
        return self

    def __exit__(self, *_):
        for number, handler in self.handlers_before.items():
            signal.signal(number, handler)

    def take(self, number, frame):
        """Handle a signal; a second Ctrl-C doesn't wait for the end of the step."""
        self.received = signal.Signals(number).name
        script.leave_terminal(number)
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if not self.training and not self.too_late:
            self.too_late = True  # torchrun passes on what Slurm sends to each process, too: the second one comes now
            raise Stopped(f"stopped by {self.received}")

    def agreed(self, device) -> bool:
        """Tell whether any process was signalled: all must leave the training after the same step."""
        import torch
        from torch import distributed

        if not distributed.is_initialized():
            return self.received is not None
        flag = torch.tensor(int(self.received is not None), device=device)
        distributed.all_reduce(flag, distributed.ReduceOp.MAX)
        return bool(flag)
