"""How a state machine of hypothesis is explored."""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test


def explore(
    machine: type[RuleBasedStateMachine],
    examples: int,
    steps: int,
    *,
    fixed: bool,
    shrink: bool = True,
) -> None:
    """``examples`` walks of ``steps`` steps; ``fixed``: the same ones every time. Raises what a step
    raised, shrunk to the fewest steps unless it is only looked whether there is one.
    """
    phases = [Phase.generate, Phase.shrink] if shrink else [Phase.generate]
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples, stateful_step_count=steps, derandomize=fixed, deadline=None,
            database=None, suppress_health_check=list(HealthCheck), phases=phases,
        ),
    )  # fmt: skip
