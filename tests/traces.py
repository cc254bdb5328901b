"""Hand traces: tiny studies with constant times whose counters were worked out by hand.

Every entry of `TRACES` is ``(name, study, expected, replication)``: the study as a dictionary of the study
file, the expected counters as ``{"vm": {group: {counter: value}}, "host": {counter: value}}`` (every group
has one VM). Counters that are not named are not looked at. Times in the comments are ns; ``a0`` is vCPU 0 of
VM ``a``; ``p0`` is pCPU 0. The VM ``b`` mostly only works in user mode, to take pCPU time from ``a``.
"""

from __future__ import annotations

from typing import Any


def vm(
    name: str,
    vcpus: int = 1,
    user: int = 100_000,
    hold: int = 10,
    lock: str | dict[str, str] = "ticket",
    **others: Any,
) -> dict[str, Any]:
    """Describe a VM with constant times."""
    return {
        "name": name,
        "vcpus": vcpus,
        "lock": {"kind": lock} if isinstance(lock, str) else lock,
        "user": f"{user}ns",
        "hold": f"{hold}ns",
        **others,
    }


def study(
    duration: int,
    pcpus: int,
    vms: list[dict[str, Any]],
    scheduler: dict[str, Any],
    guard: dict[str, Any] | None = None,
    response: dict[str, Any] | None = None,
    context_switch: int = 0,
    vm_exit: int = 0,
    warmup: int = 0,
) -> dict[str, Any]:
    """Describe a study of one configuration."""
    return {
        "study": {
            "name": "trace",
            "seed": 1,
            "duration": f"{duration}ns",
            "warmup": f"{warmup}ns",
            "replications": 1,
        },
        "host": {
            "pcpus": pcpus,
            "frequency": "1GHz",
            "context_switch": f"{context_switch}ns",
            "vm_exit": f"{vm_exit}ns",
        },
        "policy": {
            "scheduler": scheduler,
            "guard": guard or {"kind": "none"},
            "response": response or {"kind": "none"},
        },
        "vm": vms,
    }


def round_robin(length: int, phase: Any = "aligned", **others: Any) -> dict[str, Any]:
    """Pinned round robin without randomness."""
    return {"kind": "round_robin", "slice": f"{length}ns", "order": "vm", "phase": phase, **others}


def gang(length: int, fill: bool = False) -> dict[str, Any]:
    """Gang scheduling without randomness."""
    return {"kind": "gang", "slice": f"{length}ns", "fill": fill, "phase": "aligned"}


TRACES: list[tuple[str, dict[str, Any], dict[str, dict[str, Any]], int]] = []


def add(name: str, described: dict[str, Any], host: dict[str, int], **vms: dict[str, int]) -> None:
    """Append a trace."""
    TRACES.append((name, described, {"vm": vms, "host": host}, 0))


# a 0-30 user, 30-50 hold, 50-80 user, 80-90 hold: LHP at 90. b 90-180.
# a 180-190 hold, 190-220 user, 220-240 hold, 240-270 user: at 270 USER ends first (guest before hypervisor),
# so a holds for 0 ns and the slice end is an LHP. b 270-360. a 360-380 hold, 380-400 user; at 400 it is over.
add(
    "slice end with LHP",
    study(400, 1, [vm("a", user=30, hold=20, lock="test_and_set"), vm("b")], round_robin(90)),
    {"idle_ns": 0, "fragmentation_ns": 0, "events": 4 + 4 + 4},
    a={
        "acquisitions": 4,
        "contended_acquisitions": 0,
        "lhp_events": 2,
        "lhp_acquisitions": 2,
        "lwp_events": 0,
        "preemptions": 2,
        "context_switches": 2,
        "user_ns": 140,
        "hold_ns": 80,
        "spin_ns": 0,
        "ready_ns": 180,
        "holder_off_ns": 180,
        "holder_off_spells": 2,
        "holder_off_max_ns": 90,
    },
    b={"preemptions": 2, "context_switches": 2, "user_ns": 180, "ready_ns": 220, "acquisitions": 0},
)

# Two vCPUs of a on p0 and p1, each with one of b. First slice ends: p0 at 200, p1 at 60; slices of 200. a0
# holds 10-110; a1 spins 10-60, LWP at 60, b1 60-260. The release at 110 grants to a1: LWP grant. a0 110-120
# user, spins 120-200 on the granted a1 (lwp), LWP at 200, b0 200-400. a1 at 260 holds at once (waited 250)
# to 360; grants to a0, off CPU; a1 360-370 user, spins 370-450, to 400 lwp. a0 at 400 holds (waited 280).
add(
    "ticket: LWP grant",
    study(450, 2, [vm("a", 2, user=10, hold=100), vm("b", 2)], round_robin(200, [1.0, 0.3])),
    {"idle_ns": 0, "fragmentation_ns": 0, "events": 4 + 2 + 4},
    a={
        "acquisitions": 3,
        "contended_acquisitions": 2,
        "wait_ns": 530,
        "wait_max_ns": 280,
        "lhp_events": 0,
        "lwp_events": 2,
        "lwp_grants": 2,
        "preemptions": 2,
        "user_ns": 40,
        "hold_ns": 250,
        "spin_ns": 210,
        "spin_lhp_ns": 0,
        "spin_lwp_ns": 110,
        "ready_ns": 400,
    },
    b={"preemptions": 2, "context_switches": 2},
)

# One pCPU, a0 and a1. a0 30-50 hold, LHP. a1 50-80 user, spins 80-100 (lhp), LWP. a0 100-120 hold; nobody
# runs who waits, so the lock is free; a0 120-150 user, and takes the lock again at 150: LHP. a1 150-200
# spins, LWP. a0 200-240 hold, 240-250 user. a1 at 250 finds it free: holds 250-290 (waited 170), 290-300
# user.
add(
    "test_and_set: barging, and a dispatched waiter takes a free lock",
    study(300, 1, [vm("a", 2, user=30, hold=40, lock="test_and_set")], round_robin(50)),
    {"idle_ns": 0, "events": 3 + 3 + 5},
    a={
        "acquisitions": 3,
        "contended_acquisitions": 1,
        "wait_ns": 170,
        "lhp_events": 2,
        "lhp_acquisitions": 2,
        "lwp_events": 2,
        "lwp_grants": 0,
        "preemptions": 5,
        "context_switches": 5,
        "user_ns": 110,
        "hold_ns": 120,
        "spin_ns": 70,
        "spin_lhp_ns": 70,
        "ready_ns": 300,
        "holder_off_ns": 100,
        "holder_off_spells": 2,
    },
)

# First slice 75, then 100. a 0-60 user, holds from 60; at 75 extended to 105: the cap, LHP, 5 ns left.
# b 105-205. a 205-210 hold, 210-270 user, holds from 270; at 305 extended to 335; releases at 320:
# guard yield, exit 320-325. b 325-400.
add(
    "delay: cap, then release",
    study(
        400,
        1,
        [vm("a", user=60, hold=50), vm("b")],
        round_robin(100, [0.75]),
        guard={"kind": "delay", "cap": "30ns"},
        vm_exit=5,
    ),
    {"idle_ns": 0, "events": 4 + 3},
    a={
        "acquisitions": 2,
        "lhp_events": 1,
        "lhp_acquisitions": 1,
        "preemptions": 1,
        "context_switches": 1,
        "extensions": 2,
        "extensions_expired": 1,
        "guard_yields": 1,
        "yields": 0,
        "exit_ns": 5,
        "user_ns": 120,
        "hold_ns": 100,
        "ready_ns": 175,
        "holder_off_ns": 100,
        "holder_off_spells": 1,
    },
    b={"preemptions": 1, "context_switches": 2, "user_ns": 175},
)

# As above with the overrun of 30 taken off: a at 205 has 70, to 275. It holds from 270: extended to 305, the
# cap again, 15 left. b 305-405. a 405-420 hold, 420-450 user.
add(
    "delay: the cap's overrun is repaid",
    study(
        450,
        1,
        [vm("a", user=60, hold=50), vm("b")],
        round_robin(100, [0.75]),
        guard={"kind": "delay", "cap": "30ns", "repay": True},
        vm_exit=5,
    ),
    {"idle_ns": 0},
    a={
        "acquisitions": 2,
        "lhp_events": 2,
        "lhp_acquisitions": 2,
        "preemptions": 2,
        "extensions": 2,
        "extensions_expired": 2,
        "guard_yields": 0,
        "user_ns": 150,
        "hold_ns": 100,
        "ready_ns": 200,
    },
    b={"preemptions": 2, "user_ns": 200},
)

# a 0-70 user, holds 70-120, extended at 100, releases at 120 (20 over), exit to 125. b 125-225.
# a has 80, to 305: 225-295 user, holds from 295, extended 305-335: the cap (30 over). b 335-435.
# a has 70, to 505: 435-445 hold, 445-500 user.
add(
    "delay: the release's overrun is repaid",
    study(
        500,
        1,
        [vm("a", user=70, hold=50), vm("b")],
        round_robin(100),
        guard={"kind": "delay", "cap": "30ns", "repay": True},
        vm_exit=5,
    ),
    {"idle_ns": 0},
    a={
        "acquisitions": 2,
        "lhp_events": 1,
        "extensions": 2,
        "extensions_expired": 1,
        "guard_yields": 1,
        "exit_ns": 5,
        "user_ns": 195,
        "hold_ns": 100,
        "ready_ns": 200,
    },
    b={"user_ns": 200},
)

# a alone on its pCPU is never asked: slice ends at 100, 200, ... only renew.
add(
    "delay: alone is not asked",
    study(
        350,
        1,
        [vm("a", user=70, hold=50)],
        round_robin(100),
        guard={"kind": "delay", "cap": "30ns"},
        vm_exit=5,
    ),
    {"idle_ns": 0, "events": 5},
    a={
        "acquisitions": 3,
        "preemptions": 0,
        "extensions": 0,
        "guard_yields": 0,
        "context_switches": 0,
        "user_ns": 210,
        "hold_ns": 140,
    },
)

# a 0-70 user, holds 70-120; extended at 100 to 130; 120-130 user; preempted at 130 in USER. b 130-230.
# a 230-290 user, holds 290-340; extended at 330 to 360; 340-360 user; b 360-460. a 460-500 user.
add(
    "extra_slice: no early return",
    study(
        500,
        1,
        [vm("a", user=70, hold=50), vm("b")],
        round_robin(100),
        guard={"kind": "extra_slice", "length": "30ns"},
        vm_exit=5,
    ),
    {"idle_ns": 0, "events": 4 + 4},
    a={
        "acquisitions": 2,
        "lhp_events": 0,
        "preemptions": 2,
        "extensions": 2,
        "extensions_expired": 0,
        "guard_yields": 0,
        "exit_ns": 0,
        "user_ns": 200,
        "hold_ns": 100,
        "ready_ns": 200,
    },
)

# Length 10: a holds 70-110, expired, 10 left. b 110-210. a 210-220 hold, 220-290 user, holds 290-320,
# expired.
add(
    "extra_slice: expired",
    study(
        400,
        1,
        [vm("a", user=70, hold=50), vm("b")],
        round_robin(100),
        guard={"kind": "extra_slice", "length": "10ns"},
    ),
    {"idle_ns": 0},
    a={
        "acquisitions": 2,
        "lhp_events": 2,
        "lhp_acquisitions": 2,
        "preemptions": 2,
        "extensions": 2,
        "extensions_expired": 2,
        "user_ns": 140,
        "hold_ns": 80,
        "ready_ns": 180,
        "holder_off_ns": 100,
        "holder_off_spells": 1,
    },
)

# a0 shares p0 with b, a1 is alone on p1. Threshold 30, X = 5.
# a0 holds 10-70. a1 spins 10-40, exit 40-45, alone: spins 45-70, granted, holds 70-130.
# a0 70-80 user, spins 80-100, LWP; b 100-200. The release at 130 grants to a0, off CPU.
# a1 130-140 user, spins 140-170, exit to 175, spins 175-205 (to 200 lwp), exit to 210, spins to 220.
# a0 at 200 holds (waited 120).
add(
    "yield: alone",
    study(
        220,
        2,
        [vm("a", 2, user=10, hold=60), vm("b")],
        round_robin(100),
        response={"kind": "yield", "spin_threshold": "30ns"},
        vm_exit=5,
    ),
    {"idle_ns": 0, "fragmentation_ns": 0, "events": 4 + 2 + 2},
    a={
        "acquisitions": 3,
        "contended_acquisitions": 2,
        "wait_ns": 180,
        "wait_max_ns": 120,
        "yields": 3,
        "lwp_events": 1,
        "lwp_grants": 1,
        "preemptions": 1,
        "context_switches": 1,
        "user_ns": 40,
        "hold_ns": 140,
        "spin_ns": 145,
        "spin_lwp_ns": 55,
        "spin_lhp_ns": 0,
        "exit_ns": 15,
        "ready_ns": 100,
    },
    b={"preemptions": 1, "context_switches": 1, "user_ns": 100},
)

# a0, b0 on p0; a1, b1 on p1. Threshold 20, X = 5, slices of 100.
# a0 holds 10-70. a1 spins 10-30, exit to 35, to the tail; b1 35-135. The release grants to a1, off CPU.
# a0 70-80 user, spins 80-100 (lwp): slice end and threshold at 100, the slice end is first: LWP. b0 100-200.
# a1 at 135 holds to 195, grants to a0 (off CPU), 195-205 user; its new slice would last to 235;
# spins 205-225, exit to 230, b1 230-240. a0 holds 200-240.
YIELD_STUDY = (
    240,
    2,
    [vm("a", 2, user=10, hold=60), vm("b", 2)],
)
add(
    "yield: full slice afterwards",
    study(
        *YIELD_STUDY,
        round_robin(100),
        response={"kind": "yield", "spin_threshold": "20ns"},
        vm_exit=5,
    ),
    {"idle_ns": 0, "events": 4 + 2 + 5},
    a={
        "acquisitions": 3,
        "contended_acquisitions": 2,
        "wait_ns": 245,
        "wait_max_ns": 125,
        "yields": 2,
        "lwp_events": 1,
        "lwp_grants": 2,
        "preemptions": 1,
        "context_switches": 2,
        "user_ns": 40,
        "hold_ns": 160,
        "spin_ns": 60,
        "spin_lwp_ns": 20,
        "exit_ns": 10,
        "ready_ns": 210,
    },
    b={"preemptions": 2, "context_switches": 3},
)

# The same, but a1 kept 100 - 35 = 65 of its slice: it is preempted at 200 after 5 ns of USER.
add(
    "yield: rest of the slice afterwards",
    study(
        *YIELD_STUDY,
        round_robin(100, slice_after_yield="rest"),
        response={"kind": "yield", "spin_threshold": "20ns"},
        vm_exit=5,
    ),
    {"idle_ns": 0, "events": 3 + 2 + 5},
    a={
        "acquisitions": 3,
        "wait_ns": 245,
        "yields": 1,
        "lwp_events": 1,
        "lwp_grants": 2,
        "preemptions": 2,
        "context_switches": 2,
        "user_ns": 35,
        "hold_ns": 160,
        "spin_ns": 40,
        "spin_lwp_ns": 20,
        "exit_ns": 5,
        "ready_ns": 240,
    },
    b={"preemptions": 2, "context_switches": 3},
)

# One pCPU: a0, a1, b. a0 0-70 user, holds 70-100: LHP, 10 left. a1 100-170 user, spins 170-190, exit to
# 195; a0 is boosted with the 5 ns that are left: holds 195-200, LHP, 5 left. b 200-300. a1 spins 300-320,
# exit to 325; a0 boosted with 75: holds to 330, grants to a1 (off CPU), 330-400 user; at 400 it attempts,
# waits and is preempted: LWP. b 400-450.
add(
    "directed_yield: holder, rest of the slice",
    study(
        450,
        1,
        [vm("a", 2, user=70, hold=40), vm("b")],
        round_robin(100),
        response={"kind": "directed_yield", "spin_threshold": "20ns", "target": "holder"},
        vm_exit=5,
    ),
    {"idle_ns": 0, "events": 3 + 1 + 6},
    a={
        "acquisitions": 1,
        "lhp_events": 2,
        "lhp_acquisitions": 1,
        "lwp_events": 1,
        "lwp_grants": 1,
        "preemptions": 3,
        "context_switches": 4,
        "yields": 2,
        "directed_yields_holder": 2,
        "directed_yields_waiter": 0,
        "directed_yields_other": 0,
        "directed_yields_none": 0,
        "user_ns": 210,
        "hold_ns": 40,
        "spin_ns": 40,
        "spin_lhp_ns": 40,
        "exit_ns": 10,
        "ready_ns": 600,
        "holder_off_ns": 220,
        "holder_off_spells": 2,
        "holder_off_max_ns": 125,
    },
    b={"preemptions": 1, "context_switches": 2, "user_ns": 150},
)

# The boosted a0 has a full slice, 195-295: holds to 205, grants to a1, 205-275 user, spins 275-295 (lwp);
# slice end and threshold at 295: LWP. b 295-350.
add(
    "directed_yield: holder, full slice",
    study(
        350,
        1,
        [vm("a", 2, user=70, hold=40), vm("b")],
        round_robin(100),
        response={
            "kind": "directed_yield",
            "spin_threshold": "20ns",
            "target": "holder",
            "boost_slice": "full",
        },
        vm_exit=5,
    ),
    {"idle_ns": 0},
    a={
        "acquisitions": 1,
        "lhp_events": 1,
        "lwp_events": 1,
        "lwp_grants": 1,
        "preemptions": 2,
        "yields": 1,
        "directed_yields_holder": 1,
        "user_ns": 210,
        "hold_ns": 40,
        "spin_ns": 40,
        "spin_lhp_ns": 20,
        "spin_lwp_ns": 20,
        "exit_ns": 5,
        "ready_ns": 405,
        "holder_off_ns": 95,
    },
    b={"user_ns": 55},
)

# a0, b0 on p0; a1, b1 on p1; first slices 50 and 100. a0 holds 20-50: LHP, 70 left; b0 from 50, renewed at
# 150. a1 spins 20-60 (from 50 lhp), exit to 65: a0 comes over to p1 with 35: holds 65-100, LHP, to the tail
# of p1. b1 100-180.
add(
    "directed_yield: migrate",
    study(
        180,
        2,
        [vm("a", 2, user=20, hold=100), vm("b", 2)],
        round_robin(100, [0.5, 1.0]),
        response={"kind": "directed_yield", "spin_threshold": "40ns", "target": "holder", "migrate": True},
        vm_exit=5,
    ),
    {"idle_ns": 0, "events": 2 + 3},
    a={
        "acquisitions": 1,
        "lhp_events": 2,
        "lhp_acquisitions": 1,
        "preemptions": 2,
        "context_switches": 1,
        "yields": 1,
        "directed_yields_holder": 1,
        "user_ns": 40,
        "hold_ns": 65,
        "spin_ns": 40,
        "spin_lhp_ns": 10,
        "exit_ns": 5,
        "ready_ns": 210,
        "holder_off_ns": 15,
        "holder_off_spells": 1,
    },
    b={"preemptions": 0, "context_switches": 2, "user_ns": 210, "ready_ns": 150},
)

# The same without migrate: nobody in p1's queue is the holder, so b1 runs from 65; a0 stays in p0's queue and
# runs from 150: holds 150-180. b1 is preempted at 165; a1 spins 165-180 on the running holder.
add(
    "directed_yield: holder in another queue",
    study(
        180,
        2,
        [vm("a", 2, user=20, hold=100), vm("b", 2)],
        round_robin(100, [0.5, 1.0]),
        response={"kind": "directed_yield", "spin_threshold": "40ns", "target": "holder"},
        vm_exit=5,
    ),
    {"idle_ns": 0, "events": 2 + 4},
    a={
        "acquisitions": 1,
        "lhp_events": 1,
        "preemptions": 1,
        "context_switches": 2,
        "yields": 1,
        "directed_yields_holder": 0,
        "directed_yields_none": 1,
        "hold_ns": 60,
        "spin_ns": 55,
        "spin_lhp_ns": 10,
        "holder_off_ns": 100,
    },
    b={"preemptions": 2, "context_switches": 2, "user_ns": 200},
)

# a0, a1 alone on two pCPUs. Threshold 20, wake-up 30, X = 5. a0 holds 10-70. a1 spins 10-30, exit to 35,
# halts. Release at 70: grant and kick, exit to 75, a1 wakes at 100 and holds to 160 (waited 90; no switch).
# a0 75-85 user, spins 85-105 (to 100 lwp), exit to 110, halts. Release at 160: kick, exit to 165, a0 wakes
# at 190 and holds (waited 105). a1 165-175 user, spins 175-195 (to 190 lwp), exit to 200, halts.
add(
    "halt and kick with costs",
    study(
        220,
        2,
        [vm("a", 2, user=10, hold=60)],
        round_robin(1000),
        response={"kind": "halt", "spin_threshold": "20ns", "wakeup": "30ns"},
        context_switch=7,
        vm_exit=5,
    ),
    {"idle_ns": 165, "fragmentation_ns": 0, "events": 6},
    a={
        "acquisitions": 3,
        "contended_acquisitions": 2,
        "wait_ns": 195,
        "wait_max_ns": 105,
        "halts": 3,
        "guest_halts": 0,
        "kicks": 2,
        "yields": 0,
        "lwp_grants": 2,
        "lwp_events": 0,
        "preemptions": 0,
        "context_switches": 0,
        "user_ns": 40,
        "hold_ns": 150,
        "spin_ns": 60,
        "spin_lwp_ns": 30,
        "exit_ns": 25,
        "halted_ns": 165,
        "ready_ns": 0,
    },
)

# X = 45: the grant at 70 finds a1 in its exit (30-75): no halt, no kick; it holds 75-135. a0 70-80 user,
# spins 80-100, exit 100-145, granted at 135, holds from 145. a1 135-145 user, spins 145-165, exit 165-200.
add(
    "halt: granted during the exit",
    study(
        200,
        2,
        [vm("a", 2, user=10, hold=60)],
        round_robin(1000),
        response={"kind": "halt", "spin_threshold": "20ns", "wakeup": "30ns"},
        vm_exit=45,
    ),
    {"idle_ns": 0},
    a={
        "acquisitions": 3,
        "contended_acquisitions": 2,
        "wait_ns": 130,
        "halts": 0,
        "kicks": 0,
        "lwp_grants": 2,
        "user_ns": 40,
        "hold_ns": 175,
        "spin_ns": 60,
        "spin_lwp_ns": 0,
        "exit_ns": 125,
        "halted_ns": 0,
    },
)

# a0 holds 10-70; a1 spins 10-30, halts. Release at 70: a1 is kicked, the lock is free; a0 takes it again at
# 80. a1 wakes at 100, spins to 120, halts. a0 releases at 140: kick; takes it at 150.
add(
    "halt: test_and_set kicks and leaves the lock free",
    study(
        160,
        2,
        [vm("a", 2, user=10, hold=60, lock="test_and_set")],
        round_robin(1000),
        response={"kind": "halt", "spin_threshold": "20ns", "wakeup": "30ns"},
    ),
    {"idle_ns": 110},
    a={
        "acquisitions": 3,
        "contended_acquisitions": 0,
        "halts": 2,
        "kicks": 2,
        "lwp_grants": 0,
        "user_ns": 40,
        "hold_ns": 130,
        "spin_ns": 40,
        "spin_lwp_ns": 0,
        "halted_ns": 110,
    },
)

# a0 and b on p0, a1 alone on p1. Slices of 50, cap 100, threshold 20, wake-up 30, X = 5. a0 holds 10-70,
# extended at 50. a1 spins 10-30, exit to 35, halts. Release at 70: exits for the kick (to 75) and for the
# guard's yield (to 80). b 80-130. a1 wakes at 100, holds to 160. a0 130-140 user, spins 140-160: granted at
# the tick of its threshold. a1 160-170 user, spins to 175. p1 idles 35-100 while b (to 80) or a0 (from 80)
# is queued.
add(
    "delay and halt: a kick, then the guard's yield",
    study(
        175,
        2,
        [vm("a", 2, user=10, hold=60), vm("b")],
        round_robin(50),
        guard={"kind": "delay", "cap": "100ns"},
        response={"kind": "halt", "spin_threshold": "20ns", "wakeup": "30ns"},
        vm_exit=5,
    ),
    {"idle_ns": 65, "fragmentation_ns": 65},
    a={
        "acquisitions": 3,
        "contended_acquisitions": 2,
        "wait_ns": 110,
        "extensions": 1,
        "extensions_expired": 0,
        "guard_yields": 1,
        "kicks": 1,
        "halts": 1,
        "lwp_grants": 1,
        "lhp_events": 0,
        "preemptions": 0,
        "user_ns": 40,
        "hold_ns": 135,
        "spin_ns": 45,
        "exit_ns": 15,
        "halted_ns": 65,
        "ready_ns": 50,
    },
    b={"preemptions": 1, "user_ns": 50, "ready_ns": 125},
)

# X = 5. a 0-80 user, 80-110 kernel: extended at 100 (to 160), holds 110-130. The release is safe: preempted
# at 130, without an exit. b 130-230, preempted in USER at once. a 230-310 user, kernel to 340: extended at
# 330, holds to 360. b 360-460. a 460-500 user.
add(
    "monitor: from kernel mode to the release",
    study(
        500,
        1,
        [vm("a", user=80, kernel="30ns", hold=20), vm("b")],
        round_robin(100),
        guard={"kind": "monitor", "cap": "60ns"},
        vm_exit=5,
    ),
    {"idle_ns": 0},
    a={
        "acquisitions": 2,
        "lhp_events": 0,
        "preemptions": 2,
        "context_switches": 2,
        "extensions": 2,
        "extensions_expired": 0,
        "guard_yields": 0,
        "exit_ns": 0,
        "user_ns": 200,
        "kernel_ns": 60,
        "hold_ns": 40,
        "ready_ns": 200,
    },
    b={"preemptions": 2, "extensions": 0, "user_ns": 200},
)

# With a cap of 15: a holds from 110, cap at 115: LHP, 15 left. b 115-215. a holds 215-230, user to 310,
# kernel to 340: extended at 315 to 330, preempted in the kernel, 10 left. b 330-430. a kernel to 440, holds
# to 460, user to 500.
add(
    "monitor: the cap",
    study(
        500,
        1,
        [vm("a", user=80, kernel="30ns", hold=20), vm("b")],
        round_robin(100),
        guard={"kind": "monitor", "cap": "15ns"},
        vm_exit=5,
    ),
    {"idle_ns": 0},
    a={
        "acquisitions": 2,
        "lhp_events": 1,
        "lwp_events": 0,
        "preemptions": 2,
        "extensions": 2,
        "extensions_expired": 2,
        "user_ns": 200,
        "kernel_ns": 60,
        "hold_ns": 40,
        "ready_ns": 200,
        "holder_off_ns": 100,
    },
    b={"preemptions": 2, "extensions": 0, "user_ns": 200},
)

# a0, b0 on p0, first slice to 100; a1, b1 on p1, to 30. a0 holds 10-70. a1 spins 10-70, extended at 30, and
# holds 70-130: safe. a0 70-80 user, spins 80-130, extended at 100, and holds 130-190: safe. b1 130-230; b0
# 190-280. a1 at 230 runs its 10 user and holds 240-280.
add(
    "monitor: waiters go on until they have had the lock",
    study(
        280,
        2,
        [vm("a", 2, user=10, hold=60), vm("b", 2)],
        round_robin(100, [1.0, 0.3]),
        guard={"kind": "monitor", "cap": "200ns"},
    ),
    {"idle_ns": 0},
    a={
        "acquisitions": 4,
        "contended_acquisitions": 2,
        "wait_ns": 110,
        "lhp_events": 0,
        "lwp_events": 0,
        "lwp_grants": 0,
        "preemptions": 2,
        "extensions": 2,
        "extensions_expired": 0,
        "user_ns": 40,
        "hold_ns": 220,
        "spin_ns": 110,
        "spin_lhp_ns": 0,
        "ready_ns": 190,
    },
    b={"preemptions": 1, "extensions": 0, "user_ns": 190},
)

# a0, b0 on p0, first slice to 50; a1, b1 on p1, to 100. X = 5, threshold 20, wake-up 10. a0 holds 10-70,
# extended at 50. a1 spins 10-30, exit to 35, blocks; b1 from 35. a0 releases at 70: kicks a1, exit to 75, and
# is then preempted. b0 from 75. a1 wakes at 80 and queues.
KICK_STUDY = (
    120,
    2,
    [vm("a", 2, user=10, hold=60), vm("b", 2)],
    round_robin(100, [0.5, 1.0]),
)
KICK_RESPONSE = {"kind": "halt", "spin_threshold": "20ns", "wakeup": "10ns"}
add(
    "monitor and halt: a kick, then the preemption",
    study(*KICK_STUDY, guard={"kind": "monitor", "cap": "60ns"}, response=KICK_RESPONSE, vm_exit=5),
    {"idle_ns": 0},
    a={
        "acquisitions": 1,
        "halts": 1,
        "kicks": 1,
        "lwp_grants": 1,
        "lhp_events": 0,
        "preemptions": 1,
        "extensions": 1,
        "extensions_expired": 0,
        "exit_ns": 10,
        "user_ns": 20,
        "hold_ns": 60,
        "spin_ns": 20,
        "halted_ns": 45,
        "ready_ns": 85,
    },
    b={"user_ns": 130, "ready_ns": 110},
)

# The same; after the kick, at 75, a0 serves the interrupt to 83.
add(
    "driver and halt: a kick, then the interrupt",
    study(
        *KICK_STUDY,
        guard={"kind": "driver", "cap": "60ns", "latency": "8ns"},
        response=KICK_RESPONSE,
        vm_exit=5,
    ),
    {"idle_ns": 0},
    a={
        "kicks": 1,
        "lhp_events": 0,
        "preemptions": 1,
        "extensions": 1,
        "extensions_expired": 0,
        "exit_ns": 10,
        "user_ns": 20,
        "kernel_ns": 8,
        "hold_ns": 60,
        "spin_ns": 20,
        "halted_ns": 45,
        "ready_ns": 77,
    },
    b={"user_ns": 122, "ready_ns": 118},
)

# a on p0, first slice to 50; b on p1; c queued. a holds 30-70, extended at 50. b holds 50-60, HLT: exit to
# 65; c 65-160. At 70 a is safe, but nobody is queued: a new slice, to 170. a 70-100 user, holds to 140, user
# to 160.
ALONE_VMS = [
    vm("b", user=50, hold=10, halt={"probability": 1.0, "time": "1000ns"}),
    vm("c"),
]
GLOBAL = {"kind": "global", "slice": "100ns", "order": "vm", "phase": [0.5, 1.0]}
add(
    "monitor: alone when it is safe",
    study(
        160,
        2,
        [vm("a", user=30, hold=40), *ALONE_VMS],
        GLOBAL,
        guard={"kind": "monitor", "cap": "100ns"},
        vm_exit=5,
    ),
    {"idle_ns": 0},
    a={
        "acquisitions": 2,
        "preemptions": 0,
        "context_switches": 0,
        "extensions": 1,
        "extensions_expired": 0,
        "exit_ns": 0,
        "user_ns": 80,
        "hold_ns": 80,
    },
    b={"guest_halts": 1, "user_ns": 50, "hold_ns": 10, "exit_ns": 5, "halted_ns": 95},
    c={"context_switches": 1, "user_ns": 95, "ready_ns": 65},
)

# a works in user mode. At 50 it serves the interrupt, to 70; c has left the queue by then: a new slice, to
# 170.
add(
    "driver: alone when the interrupt is served",
    study(
        160,
        2,
        [vm("a"), *ALONE_VMS],
        GLOBAL,
        guard={"kind": "driver", "cap": "100ns", "latency": "20ns"},
        vm_exit=5,
    ),
    {"idle_ns": 0, "events": 2 + 1},
    a={
        "preemptions": 0,
        "context_switches": 0,
        "extensions": 1,
        "extensions_expired": 0,
        "user_ns": 140,
        "kernel_ns": 20,
    },
    c={"context_switches": 1, "user_ns": 95, "ready_ns": 65},
)

# X = 5. First slice to 80. a holds 60-90, extended at 80; HLT at 90: exit to 95. b 95-195; a wakes at 145; b
# is extended in USER to 235 and preempted. a 235-295 user, holds to 325, HLT, exit to 330. b from 330; a
# wakes at 380.
add(
    "monitor_halt: HLT, and none",
    study(
        400,
        1,
        [vm("a", user=60, hold=30, halt={"probability": 1.0, "time": "50ns"}), vm("b")],
        round_robin(100, [0.8]),
        guard={"kind": "monitor_halt", "window": "40ns"},
        vm_exit=5,
    ),
    {"idle_ns": 0},
    a={
        "acquisitions": 2,
        "guest_halts": 2,
        "preemptions": 0,
        "extensions": 1,
        "extensions_expired": 0,
        "exit_ns": 10,
        "user_ns": 120,
        "hold_ns": 60,
        "halted_ns": 100,
        "ready_ns": 110,
    },
    b={"preemptions": 1, "lhp_events": 0, "extensions": 1, "extensions_expired": 1, "user_ns": 210},
)

# a holds 70-120: the interrupt of 100 is served 120-128, then b. b's of 228 at once, to 236. a 236-306 user,
# holds to 356, that of 336 served to 364. b 364-464, served to 472. a 472-500 user.
add(
    "driver: served at the release, or at once",
    study(
        500,
        1,
        [vm("a", user=70, hold=50), vm("b")],
        round_robin(100),
        guard={"kind": "driver", "cap": "60ns", "latency": "8ns"},
        vm_exit=5,
    ),
    {"idle_ns": 0, "events": 4 + 4},
    a={
        "acquisitions": 2,
        "lhp_events": 0,
        "preemptions": 2,
        "extensions": 2,
        "extensions_expired": 0,
        "guard_yields": 0,
        "exit_ns": 0,
        "user_ns": 168,
        "kernel_ns": 16,
        "hold_ns": 100,
        "ready_ns": 216,
    },
    b={"preemptions": 2, "extensions": 2, "user_ns": 200, "kernel_ns": 16, "ready_ns": 284},
)

# Cap 15, latency 20. a holds from 70, cap at 115: LHP, 5 left. b 115-215, serves to the cap at 230. a 230-235
# hold, user to 305, holds; cap at 345: LHP. b from 345.
add(
    "driver: the cap",
    study(
        400,
        1,
        [vm("a", user=70, hold=50), vm("b")],
        round_robin(100),
        guard={"kind": "driver", "cap": "15ns", "latency": "20ns"},
    ),
    {"idle_ns": 0},
    a={
        "acquisitions": 2,
        "lhp_events": 2,
        "preemptions": 2,
        "extensions": 2,
        "extensions_expired": 2,
        "user_ns": 140,
        "kernel_ns": 0,
        "hold_ns": 90,
        "ready_ns": 170,
        "holder_off_ns": 115,
        "holder_off_spells": 1,
    },
    b={
        "preemptions": 1,
        "lhp_events": 0,
        "extensions": 1,
        "extensions_expired": 1,
        "user_ns": 155,
        "kernel_ns": 15,
    },
)

# a0, b0 on p0, first slice to 100; a1, b1 on p1, to 60. a0 holds 10-70. a1 spins 10-60, serves to 80; the
# release of 70 is an LWP grant to it. At 80 a0 starts to wait, and a1 is preempted; b1 80-180, serves to 200.
# a0 spins 80-100 (lwp), serves to 120; b0 from 120. a1 at 200 holds (waited 190).
add(
    "driver: a waiter that serves is off CPU for its lock",
    study(
        210,
        2,
        [vm("a", 2, user=10, hold=60), vm("b", 2)],
        round_robin(100, [1.0, 0.6]),
        guard={"kind": "driver", "cap": "100ns", "latency": "20ns"},
    ),
    {"idle_ns": 0},
    a={
        "acquisitions": 2,
        "contended_acquisitions": 1,
        "wait_ns": 190,
        "lhp_events": 0,
        "lwp_events": 2,
        "lwp_grants": 1,
        "preemptions": 2,
        "extensions": 2,
        "extensions_expired": 0,
        "user_ns": 30,
        "kernel_ns": 40,
        "hold_ns": 70,
        "spin_ns": 70,
        "spin_lwp_ns": 20,
        "ready_ns": 210,
    },
    b={"preemptions": 1, "extensions": 1, "user_ns": 190, "kernel_ns": 20},
)

# a0, b0, c0 on p0, first slice to 50; a1, b1, c1 on p1, to 100. X = 5, threshold 30. a0 holds 10-50, LHP, 20
# left; b0 50-150. a1 spins from 10, notifies 40-45 and 75-80, LWP at 100. Who has just left is not picked: b1
# 100-200. At 150 a0 is picked before c0, which was queued first; no mark is left, so c1 at 200. a0 holds
# 150-170 (LWP grant to a1), user to 180, spins (lwp), notifies 210-215 and 245-250, where its slice ends:
# LWP. It has just left: c0 from 250. At 300 a1, which was preempted first, is picked and holds.
add(
    "notify: the preempted holder is picked first",
    study(
        320,
        2,
        [vm("a", 2, user=10, hold=60), vm("b", 2), vm("c", 2)],
        round_robin(100, [0.5, 1.0]),
        response={"kind": "notify", "spin_threshold": "30ns"},
        vm_exit=5,
    ),
    {"idle_ns": 0},
    a={
        "acquisitions": 2,
        "contended_acquisitions": 1,
        "wait_ns": 290,
        "lhp_events": 1,
        "lwp_events": 2,
        "lwp_grants": 1,
        "preemptions": 3,
        "yields": 0,
        "exit_ns": 20,
        "user_ns": 30,
        "hold_ns": 80,
        "spin_ns": 140,
        "spin_lhp_ns": 45,
        "spin_lwp_ns": 60,
        "ready_ns": 370,
        "holder_off_ns": 100,
    },
    b={"preemptions": 2, "user_ns": 200},
    c={"preemptions": 1, "user_ns": 170},
)

# X = 5, threshold 30, a handover of 20 to a lone spinner; first slices to 200 on p0 and 85 on p1. a0 holds 10-70. a1
# spins from 10, notifies 40-45, spins to 70 and on through the handover: LWP at 85, 5 left. b1 85-285. a0 70-80 user,
# spins (from 85 lwp), notifies 110-115, 145-150 and 180-185: LWP at 200. At 285 a1 is picked before c1: holds from 290.
add(
    "notify: who was preempted in a handover is wanted",
    study(
        300,
        2,
        [vm("a", 2, user=10, hold=60, handover="20ns"), vm("b", 2), vm("c", 2)],
        round_robin(200, [1.0, 0.425]),
        response={"kind": "notify", "spin_threshold": "30ns"},
        vm_exit=5,
    ),
    {"idle_ns": 0},
    a={
        "acquisitions": 2,
        "contended_acquisitions": 1,
        "wait_ns": 280,
        "lhp_events": 0,
        "lwp_events": 2,
        "lwp_grants": 0,
        "preemptions": 2,
        "exit_ns": 20,
        "user_ns": 30,
        "hold_ns": 70,
        "spin_ns": 180,
        "spin_lhp_ns": 0,
        "spin_lwp_ns": 100,
        "ready_ns": 300,
    },
    b={"preemptions": 1, "user_ns": 300},
    c={"user_ns": 0},
)

# X = 5, threshold 30. a0 holds 10-160. a1 spins from 10, notifies 40-45, has spun for 50 at 65: exit to 70, halts. b1
# 70-270. The release kicks a1, which is queued behind c1 from 180. a0 exit to 165, user to 175, spins (lwp), LWP at 200.
# At 270 c1 is next: a1 was woken, not preempted.
add(
    "notify: who was woken is not wanted",
    study(
        300,
        2,
        [
            vm(
                "a",
                2,
                user=10,
                hold=150,
                lock={"kind": "pv_ticket", "spin_threshold": "50ns", "wakeup": "20ns"},
            ),
            vm("b", 2),
            vm("c", 2),
        ],
        round_robin(200),
        response={"kind": "notify", "spin_threshold": "30ns"},
        vm_exit=5,
    ),
    {"idle_ns": 0},
    a={
        "acquisitions": 1,
        "lwp_events": 1,
        "lwp_grants": 1,
        "halts": 1,
        "kicks": 1,
        "preemptions": 1,
        "exit_ns": 15,
        "user_ns": 30,
        "hold_ns": 150,
        "spin_ns": 75,
        "spin_lwp_ns": 25,
        "halted_ns": 110,
        "ready_ns": 220,
    },
    b={"preemptions": 1, "user_ns": 300},
    c={"user_ns": 30},
)

# a0, a1, a2 on one pCPU. X = 5, threshold 20. a0 holds 30-100, LHP, 30 left. a1 100-130 user, spins to 150
# (lhp), exit to 155: the first one after a0 in turn is a2, which has not run yet (other). a2 155-185 user,
# spins to 200 (lhp), LWP. a0 holds 200-230 (grant to a1, off CPU), user to 260, spins to 280 (lwp), exit to
# 285: a1 is in the spin loop and not eligible, a2 waits: it spins 285-300 (lwp), LWP. a1 holds 300-400
# (waited 170; grant to a2), preempted in USER. a0 spins 400-420 (lwp), exit to 425: a1 is passed over in
# USER; a2 owns the lock and holds 425-450 (waited 240).
add(
    "directed_yield: round robin",
    study(
        450,
        1,
        [vm("a", 3, user=30, hold=100)],
        round_robin(100),
        response={"kind": "directed_yield", "spin_threshold": "20ns", "target": "round_robin"},
        vm_exit=5,
    ),
    {"idle_ns": 0},
    a={
        "acquisitions": 3,
        "contended_acquisitions": 2,
        "wait_ns": 410,
        "lhp_events": 1,
        "lwp_events": 2,
        "lwp_grants": 2,
        "preemptions": 4,
        "yields": 3,
        "directed_yields_other": 1,
        "directed_yields_waiter": 1,
        "directed_yields_holder": 1,
        "directed_yields_none": 0,
        "exit_ns": 15,
        "user_ns": 120,
        "hold_ns": 225,
        "spin_ns": 90,
        "spin_lhp_ns": 35,
        "spin_lwp_ns": 55,
    },
)

# a0 .. a3 on p0 .. p3, a4 on p0 behind a0, and a b on each pCPU. First slices: p0 30, the others 20. a0 holds
# 5-30, LHP. a1, a2, a3 spin 5-20 (contention), LWP; their bs 20-120. a4 30-35 user, spins with a threshold of
# 20: at 55, 75, 95 and 115 it tries a1, a2 and a3 in vain, and so never comes to a0, which it could run.
add(
    "directed_yield: round robin tries three siblings",
    study(
        120,
        4,
        [vm("a", 5, user=5, hold=200), vm("b", 4)],
        round_robin(100, [0.3, 0.2, 0.2, 0.2], placement="aligned"),
        response={"kind": "directed_yield", "spin_threshold": "20ns", "target": "round_robin"},
    ),
    {"idle_ns": 0},
    a={
        "acquisitions": 1,
        "lhp_events": 1,
        "lwp_events": 3,
        "preemptions": 4,
        "yields": 4,
        "directed_yields_holder": 0,
        "directed_yields_none": 4,
        "user_ns": 25,
        "hold_ns": 25,
        "spin_ns": 130,
        "spin_lhp_ns": 85,
        "ready_ns": 420,
    },
    b={"user_ns": 300},
)

# a0, b0 on p0; a1, b1 on p1; slices of 200. X = 5, threshold 10, doubled at each exit up to 25. a0 holds
# 10-160. a1 spins 10-20, 25-45, 50-75, 80-105, 110-135, 140-160 and holds. a0 170-180 spins, 185-200 too (of
# 20), LWP. a1 LHP at 200, 110 left. b0, b1 200-400. From 400 a1 holds, and a0 spins anew 400-410, 415-435,
# 440-450.
add(
    "directed_yield: the window grows until the next dispatch",
    study(
        450,
        2,
        [vm("a", 2, user=10, hold=150), vm("b", 2)],
        round_robin(200),
        response={
            "kind": "directed_yield",
            "spin_threshold": "10ns",
            "target": "round_robin",
            "window_grow": 2,
            "window_max": "25ns",
        },
        vm_exit=5,
    ),
    {"idle_ns": 0},
    a={
        "acquisitions": 2,
        "contended_acquisitions": 1,
        "wait_ns": 150,
        "lhp_events": 1,
        "lwp_events": 1,
        "preemptions": 2,
        "yields": 8,
        "directed_yields_none": 8,
        "exit_ns": 40,
        "user_ns": 30,
        "hold_ns": 240,
        "spin_ns": 190,
        "spin_lhp_ns": 0,
        "ready_ns": 400,
        "holder_off_ns": 200,
    },
    b={"preemptions": 2, "user_ns": 400},
)

# C = 10, slices of 50: a 0-50, switch, b 60-110, switch, a 120-170, switch, b 180-200. Each holds in the last
# 20 ns of its slice; the release at the slice end comes first.
SWITCH_STUDY = (1, [vm("a", user=30, hold=20), vm("b", user=30, hold=20)], round_robin(50))
add(
    "context switch",
    study(200, *SWITCH_STUDY, context_switch=10),
    {"idle_ns": 0, "events": 9},
    a={
        "acquisitions": 2,
        "lhp_events": 0,
        "preemptions": 2,
        "context_switches": 1,
        "user_ns": 60,
        "hold_ns": 40,
        "switch_ns": 10,
        "ready_ns": 100,
    },
    b={
        "acquisitions": 1,
        "preemptions": 1,
        "context_switches": 2,
        "user_ns": 50,
        "hold_ns": 20,
        "switch_ns": 20,
        "ready_ns": 130,
    },
)

# The same seen through the window 100-200; `events` counts from 0.
add(
    "context switch after a warm-up",
    study(100, *SWITCH_STUDY, context_switch=10, warmup=100),
    {"idle_ns": 0, "events": 9},
    a={
        "acquisitions": 1,
        "preemptions": 1,
        "context_switches": 1,
        "user_ns": 30,
        "hold_ns": 20,
        "switch_ns": 10,
        "ready_ns": 50,
    },
    b={
        "acquisitions": 0,
        "preemptions": 1,
        "context_switches": 1,
        "user_ns": 20,
        "hold_ns": 10,
        "switch_ns": 10,
        "ready_ns": 70,
    },
)

# X = 5: user 10, kernel 5, hold 10, exit 5, halted 50: a period of 80, from 0, 80 and 160.
add(
    "HLT and a kernel phase",
    study(
        200,
        1,
        [vm("a", user=10, hold=10, kernel="5ns", halt={"probability": 1.0, "time": "50ns"})],
        round_robin(1000),
        vm_exit=5,
        context_switch=3,
    ),
    {"idle_ns": 110, "fragmentation_ns": 0, "events": 9},
    a={
        "acquisitions": 3,
        "guest_halts": 3,
        "halts": 0,
        "user_ns": 30,
        "kernel_ns": 15,
        "hold_ns": 30,
        "exit_ns": 15,
        "halted_ns": 110,
        "context_switches": 0,
        "ready_ns": 0,
    },
)

# C = 5. a 0-20, halted to 120. Switch, b 25-65, halted to 165. Idle 65-120. Switch, a 125-145. Idle 145-165.
# Switch 165-170.
add(
    "a switch after idling",
    study(
        170,
        1,
        [
            vm("a", user=10, hold=10, halt={"probability": 1.0, "time": "100ns"}),
            vm("b", user=30, hold=10, halt={"probability": 1.0, "time": "100ns"}),
        ],
        round_robin(1000),
        context_switch=5,
    ),
    {"idle_ns": 75, "fragmentation_ns": 0, "events": 9},
    a={"user_ns": 20, "hold_ns": 20, "halted_ns": 125, "ready_ns": 5, "switch_ns": 5, "context_switches": 1},
    b={
        "user_ns": 30,
        "hold_ns": 10,
        "halted_ns": 100,
        "ready_ns": 30,
        "switch_ns": 10,
        "context_switches": 2,
    },
)

# Three vCPUs on three pCPUs, handover 6 and always one other spinner: 6 * 3 / 2 = 9.
# Holds: a0 10-40, a1 49-79, a2 88-118, a0 127-130. Waits: 39, 78, 77. a0 attempts at 50, a1 at 89, a2 at 128.
add(
    "handover of a ticket lock grows with the spinners",
    study(130, 3, [vm("a", 3, user=10, hold=30, handover="6ns")], round_robin(1000)),
    {"idle_ns": 0},
    a={
        "acquisitions": 4,
        "contended_acquisitions": 3,
        "wait_ns": 194,
        "wait_max_ns": 78,
        "user_ns": 60,
        "hold_ns": 93,
        "spin_ns": 237,
        "spin_lhp_ns": 0,
        "spin_lwp_ns": 0,
    },
)

# Holds: a0 10-40, a1 46-76, a2 82-112, a0 118-130. Waits: 36, 72, 68.
add(
    "handover of a queue lock does not",
    study(130, 3, [vm("a", 3, user=10, hold=30, lock="queue", handover="6ns")], round_robin(1000)),
    {"idle_ns": 0},
    a={
        "acquisitions": 4,
        "contended_acquisitions": 3,
        "wait_ns": 176,
        "wait_max_ns": 72,
        "user_ns": 60,
        "hold_ns": 102,
        "spin_ns": 228,
    },
)

# First slice of p1 ends at 44. a0 holds 10-40; a1 spins from 10, handover of 10 from 40; LWP at 44, 6 left.
# b1 44-244. a0 40-50 user, spins 50-200 (lwp), LWP. a1 244-250 handover, holds 250-270 (waited 240).
add(
    "handover cut by a preemption",
    study(270, 2, [vm("a", 2, user=10, hold=30, handover="10ns"), vm("b", 2)], round_robin(200, [1.0, 0.22])),
    {"idle_ns": 0},
    a={
        "acquisitions": 2,
        "contended_acquisitions": 1,
        "wait_ns": 240,
        "lwp_events": 2,
        "lwp_grants": 0,
        "user_ns": 30,
        "hold_ns": 50,
        "spin_ns": 190,
        "spin_lwp_ns": 150,
    },
)

# One queue for two pCPUs, slices of 50, first ones 50 and 25. p0: a0 0-50, a1 50-100, a2 100-150, a0 150-.
# p1: a1 0-25, a2 25-75, a0 75-125, a1 125-. a0's USER ends at 125: it holds, LHP. At 150 a2 and a1 attempt;
# a2 is preempted (LWP), a0 is back and holds 150-160; a1 spins 150-160, holds from 160.
add(
    "global queue",
    study(
        165,
        2,
        [vm("a", 3, user=100, hold=10, lock="test_and_set")],
        {"kind": "global", "slice": "50ns", "order": "vm", "phase": [1.0, 0.5]},
    ),
    {"idle_ns": 0, "fragmentation_ns": 0, "events": 3 + 1 + 6},
    a={
        "acquisitions": 2,
        "contended_acquisitions": 1,
        "wait_ns": 10,
        "lhp_events": 1,
        "lhp_acquisitions": 1,
        "lwp_events": 1,
        "preemptions": 6,
        "context_switches": 6,
        "user_ns": 305,
        "hold_ns": 15,
        "spin_ns": 10,
        "spin_lhp_ns": 0,
        "ready_ns": 165,
        "holder_off_ns": 25,
    },
)

# Slot 0: a0, a1; slot 1: b in column 0 and a hole. Slots of 100. a0 holds 30-80, a1 spins 30-80 and holds
# from 80. At 100 a0 is preempted in USER (10 left), a1 while HOLDING (30 left); b runs, p1 idles. At 200 a0
# is switched in, a1 was p1's last: no switch. a1 holds to 230; a0 200-210 user, spins to 230, holds
# 230-280; a1 230-260 user, spins to 280, holds to 290. The heavy a0 waits 100 ns in its column for b; a1's
# column is idle.
GANG_VMS = [vm("a", 2, user=30, hold=50, weight=2), vm("b", weight=1)]
add(
    "gang: slot end",
    study(290, 2, GANG_VMS, gang(100)),
    {"idle_ns": 100, "fragmentation_ns": 100, "events": 4 + 3 + 2},
    a={
        "acquisitions": 4,
        "contended_acquisitions": 3,
        "wait_ns": 90,
        "wait_max_ns": 50,
        "lhp_events": 1,
        "lhp_acquisitions": 1,
        "lwp_events": 0,
        "preemptions": 2,
        "context_switches": 1,
        "user_ns": 130,
        "hold_ns": 160,
        "spin_ns": 90,
        "spin_lhp_ns": 0,
        "spin_lwp_ns": 0,
        "ready_ns": 200,
        "holder_off_ns": 100,
        "priority_inversion_ns": 100,
    },
    b={"preemptions": 1, "context_switches": 1, "user_ns": 100, "ready_ns": 190, "priority_inversion_ns": 0},
)

# With fill a1 goes on in the hole: holds 80-130, 130-160 user, holds 160-210. a0 200-210 user: it attempts
# at 210 before a1 (on p1) releases at 210: contended, a wait of 0. a0 holds 210-260; a1 210-240 user, spins
# to 260.
add(
    "gang: fill",
    study(290, 2, GANG_VMS, gang(100, fill=True)),
    {"idle_ns": 0, "fragmentation_ns": 0},
    a={
        "acquisitions": 5,
        "contended_acquisitions": 3,
        "wait_ns": 70,
        "lhp_events": 0,
        "preemptions": 1,
        "context_switches": 1,
        "user_ns": 180,
        "hold_ns": 230,
        "spin_ns": 70,
        "ready_ns": 100,
        "priority_inversion_ns": 100,
    },
    b={"preemptions": 1, "context_switches": 1, "user_ns": 100, "ready_ns": 190},
)

# One column, slots a and b of 100, fill. C = 6, X = 4. a 0-30, HLT exit to 34, halted to 84. Switch, b
# fills 40-84 and is pushed off. Switch, a 90-100. Slot of b: switch, b 106-200. Switch, a 206-226, exit to
# 230, halted. Switch, b 236-250.
add(
    "gang: the owner pushes the filler off",
    study(
        250,
        1,
        [vm("a", user=20, hold=10, halt={"probability": 1.0, "time": "50ns"}), vm("b")],
        gang(100, fill=True),
        context_switch=6,
        vm_exit=4,
    ),
    {"idle_ns": 0, "events": 4 + 5},
    a={
        "acquisitions": 2,
        "guest_halts": 2,
        "preemptions": 1,
        "context_switches": 2,
        "user_ns": 40,
        "hold_ns": 20,
        "exit_ns": 8,
        "switch_ns": 12,
        "halted_ns": 70,
        "ready_ns": 112,
    },
    b={"preemptions": 2, "context_switches": 3, "user_ns": 152, "switch_ns": 18, "ready_ns": 98},
)

# A halt of 3 ends in the middle of the switch to the filler, which is broken off: a 0-30, exit to 34,
# switch to b 34-37, switch to a 37-43, a 43-73, exit to 77, switch to b 77-80, switch to a 80-86, a 86-90.
add(
    "gang: a switch to a filler is broken off",
    study(
        90,
        1,
        [vm("a", user=20, hold=10, halt={"probability": 1.0, "time": "3ns"}), vm("b")],
        gang(100, fill=True),
        context_switch=6,
        vm_exit=4,
    ),
    {"idle_ns": 0, "events": 4 + 4},
    a={
        "acquisitions": 2,
        "guest_halts": 2,
        "preemptions": 0,
        "context_switches": 2,
        "user_ns": 44,
        "hold_ns": 20,
        "exit_ns": 8,
        "switch_ns": 12,
        "halted_ns": 6,
        "ready_ns": 12,
    },
    b={"preemptions": 0, "context_switches": 2, "user_ns": 0, "switch_ns": 6, "ready_ns": 90},
)

# Slot 0: a, slot 1: b, slot 2: c, two vCPUs each; all within the slot of a. Threshold 30, X = 5. a0 holds
# 10-20, exit to 25, halted to 128. a1 spins 10-20, holds 20-30, exit to 35, halted to 138. b0 fills p0 25-45,
# exit to 50, halted to 92; b1 p1 35-55, exit to 60, halted to 102. c0 fills p0 from 50, holds from 60; c1 p1
# from 60, spins 70-100, exit to 105, spins on to 135, exit to 140: b0 wakes beside c0, b1 inside the first
# exit of c1, and neither pushes off. a0 pushes c0 off at 128 (LHP). a1 wakes inside the second exit: c1 is
# preempted at 140 (LWP). a0 holds 138-148, exit.
add(
    "gang: only the owner pushes a filler off",
    study(
        150,
        2,
        [
            vm("a", 2, user=10, hold=10, halt={"probability": 1.0, "time": "103ns"}),
            vm("b", 2, user=10, hold=10, halt={"probability": 1.0, "time": "42ns"}),
            vm("c", 2, user=10, hold=200),
        ],
        gang(1000, fill=True),
        response={"kind": "yield", "spin_threshold": "30ns"},
        vm_exit=5,
    ),
    {"idle_ns": 0, "fragmentation_ns": 0, "events": 6 + 4 + 2 + 6},
    a={
        "acquisitions": 3,
        "contended_acquisitions": 1,
        "wait_ns": 10,
        "guest_halts": 3,
        "yields": 0,
        "preemptions": 0,
        "context_switches": 2,
        "user_ns": 40,
        "hold_ns": 30,
        "spin_ns": 10,
        "exit_ns": 12,
        "halted_ns": 206,
        "ready_ns": 2,
    },
    b={
        "acquisitions": 2,
        "contended_acquisitions": 0,
        "preemptions": 0,
        "context_switches": 2,
        "user_ns": 20,
        "hold_ns": 20,
        "exit_ns": 10,
        "halted_ns": 84,
        "ready_ns": 166,
    },
    c={
        "acquisitions": 1,
        "yields": 2,
        "lhp_events": 1,
        "lwp_events": 1,
        "preemptions": 2,
        "context_switches": 2,
        "user_ns": 20,
        "hold_ns": 68,
        "spin_ns": 60,
        "spin_lhp_ns": 7,
        "exit_ns": 10,
        "ready_ns": 142,
    },
)

# Slot 0: a0, a1; slot 1: b0, b1. Slots of 100, threshold 30, X = 20. a0 holds 10-90. a1 spins 10-40, exit
# to 60, spins 60-90, at the threshold (90) the grant comes first: holds 90-; LHP at 100. a0 90-100 user;
# its USER ends at 100 before the slot: it attempts and waits: LWP. b 100-200. a1 holds 200-270; a0 spins
# 200-230, exit 230-250, spins 250-270, holds from 270. a1 270-280 user, spins 280-300. b to 320: a1's exit
# would start at 310, but the slot ends at 300: LWP; a0 LHP.
add(
    "gang: a yield pays and gives nothing up",
    study(
        320,
        2,
        [vm("a", 2, user=10, hold=80), vm("b", 2)],
        gang(100),
        response={"kind": "yield", "spin_threshold": "30ns"},
        vm_exit=20,
    ),
    {"idle_ns": 0},
    a={
        "acquisitions": 3,
        "contended_acquisitions": 2,
        "wait_ns": 80 + 170,
        "yields": 2,
        "lhp_events": 2,
        "lwp_events": 2,
        "lwp_grants": 0,
        "preemptions": 4,
        "user_ns": 40,
        "hold_ns": 80 + 10 + 70 + 30,
        "spin_ns": 60 + 50 + 20,
        "exit_ns": 40,
        "ready_ns": 240,
        "holder_off_ns": 100,
    },
    b={"preemptions": 2, "user_ns": 240},
)

# X = 20: a1's exit 40-60 covers the slot end at 50; it comes back at 60 and is preempted then (LWP; 30 + 0
# spun). a0 is preempted while HOLDING at 50. b0 50-100, b1 60-100. At 100 both return: a0 holds 100-120.
add(
    "gang: a slot end inside an exit acts at its end",
    study(
        120,
        2,
        [vm("a", 2, user=10, hold=80), vm("b", 2)],
        gang(50),
        response={"kind": "yield", "spin_threshold": "30ns"},
        vm_exit=20,
    ),
    {"idle_ns": 0},
    a={
        "acquisitions": 1,
        "yields": 1,
        "lhp_events": 1,
        "lwp_events": 1,
        "preemptions": 2,
        "user_ns": 20,
        "hold_ns": 60,
        "spin_ns": 30 + 20,
        "spin_lhp_ns": 0,
        "exit_ns": 20,
        "ready_ns": 50 + 40,
    },
    b={"preemptions": 2, "user_ns": 90},
)

# A light VM on the pCPU that a heavy one waits for; order b, a. Slices of 50. b 0-50, a 50-100, b 100-120.
add(
    "priority inversion on a pinned pCPU",
    study(120, 1, [vm("b", weight=1), vm("a", weight=3)], round_robin(50)),
    {"idle_ns": 0},
    a={"priority_inversion_ns": 70, "user_ns": 50, "ready_ns": 70},
    b={"priority_inversion_ns": 0, "user_ns": 70, "ready_ns": 50},
)

# Slots shorter than a switch of 15: a 0-10 is preempted; switch to b 10-20 broken off by a's slot, switch
# to a 20-30 by b's, switch to b 30-34.
add(
    "gang: a switch is broken off by the slot's end",
    study(34, 1, [vm("a"), vm("b")], gang(10), context_switch=15),
    {"idle_ns": 0, "events": 3},
    a={"preemptions": 1, "context_switches": 1, "user_ns": 10, "switch_ns": 10, "ready_ns": 24},
    b={"preemptions": 0, "context_switches": 2, "user_ns": 0, "switch_ns": 14, "ready_ns": 34},
)

# Slots of 37, C = 6, X = 4, fill. a 0-30, HLT exit to 34, halted to 84. The switch to the filler b, 34-40,
# goes on over the slot end at 37, and b over that at 74, since a is halted. At 84 a pushes b off: switch, a
# 90-111, 1 ns of it HOLDING: LHP. Switch, b 117-148. Switch, a holds 154-163, exit to 165.
add(
    "gang: a switch to the choice goes on",
    study(
        165,
        1,
        [vm("a", user=20, hold=10, halt={"probability": 1.0, "time": "50ns"}), vm("b")],
        gang(37, fill=True),
        context_switch=6,
        vm_exit=4,
    ),
    {"idle_ns": 0, "events": 4 + 4},
    a={
        "acquisitions": 2,
        "guest_halts": 2,
        "lhp_events": 1,
        "preemptions": 1,
        "context_switches": 2,
        "user_ns": 40,
        "hold_ns": 20,
        "exit_ns": 6,
        "switch_ns": 12,
        "halted_ns": 50,
        "ready_ns": 49,
        "holder_off_ns": 43,
    },
    b={"preemptions": 2, "context_switches": 2, "user_ns": 75, "switch_ns": 12, "ready_ns": 90},
)

# a1 spins 10-30 and halts; kicked at 70, it wakes at 170. The release at 140 finds it kicked already.
add(
    "halt: test_and_set kicks a waiter once",
    study(
        160,
        2,
        [vm("a", 2, user=10, hold=60, lock="test_and_set")],
        round_robin(1000),
        response={"kind": "halt", "spin_threshold": "20ns", "wakeup": "100ns"},
    ),
    {"idle_ns": 130},
    a={"acquisitions": 3, "halts": 1, "kicks": 1, "spin_ns": 20, "hold_ns": 130, "halted_ns": 130},
)

# "delay and halt" with the overrun repaid: it ends with the release at 70, before the exits. So a0's slice
# lasts from 130 to 160; there it is granted first, then extended to 260. With 25 off it would be preempted
# at 155.
add(
    "delay and halt: the overrun ends with the release",
    study(
        175,
        2,
        [vm("a", 2, user=10, hold=60), vm("b")],
        round_robin(50),
        guard={"kind": "delay", "cap": "100ns", "repay": True},
        response={"kind": "halt", "spin_threshold": "20ns", "wakeup": "30ns"},
        vm_exit=5,
    ),
    {"idle_ns": 65, "fragmentation_ns": 65},
    a={
        "acquisitions": 3,
        "extensions": 2,
        "guard_yields": 1,
        "kicks": 1,
        "halts": 1,
        "preemptions": 0,
        "lwp_events": 0,
        "hold_ns": 135,
        "spin_ns": 45,
        "exit_ns": 15,
    },
)

# USER of 0 ns: a cycle of 10 ns. Only the ends of HOLDING at 10, 20, ..., 90 are events.
add(
    "a phase of no length",
    study(95, 1, [vm("a", user=0, hold=10)], round_robin(1000)),
    {"idle_ns": 0, "events": 9},
    a={"acquisitions": 10, "user_ns": 0, "hold_ns": 95},
)

# One queue. p0: a 0-20, HLT to 120; c takes p0 at 20: 20-40, HLT to 140. p1: b 0-30, HLT to 130. From 40
# both idle. a wakes at 120 and takes p0 (a switch: c was its last): 120-140. b wakes at 130 and takes p1,
# its last: 130-145. c wakes at 140 and takes p0: 140-145.
add(
    "global queue: the lowest idle pCPU",
    study(
        145,
        2,
        [
            vm("a", 1, user=10, hold=10, halt={"probability": 1.0, "time": "100ns"}),
            vm("b", 1, user=20, hold=10, halt={"probability": 1.0, "time": "100ns"}),
            vm("c", 1, user=10, hold=10, halt={"probability": 1.0, "time": "100ns"}),
        ],
        {"kind": "global", "slice": "1000ns", "order": "vm", "phase": "aligned"},
    ),
    {"idle_ns": 80 + 100, "fragmentation_ns": 0, "events": 4 + 2 + 2 + 3},
    a={
        "user_ns": 20,
        "hold_ns": 20,
        "halted_ns": 105,
        "ready_ns": 0,
        "context_switches": 1,
        "guest_halts": 2,
    },
    b={"user_ns": 35, "hold_ns": 10, "halted_ns": 100, "ready_ns": 0, "context_switches": 0},
    c={"user_ns": 15, "hold_ns": 10, "halted_ns": 100, "ready_ns": 20, "context_switches": 2},
)

# b and a1 share p0, a0 is alone on p1. The lock's threshold is 110, X = 5, a wake-up takes 20.
# b 0-10. a0 holds 10-310. a1 10-20 user, spins 20-110: LWP, 20 left of its threshold. b 110-210. a1 spins 210-230,
# exit to 235, halts. b 235-335. The release at 310 grants to a1: kick, exit 310-315, it wakes up at 330. a0 315-325
# user, then spins, to 335 lwp. a1 at 335 holds (waited 315).
add(
    "pv_ticket: the threshold goes on after a preemption",
    study(
        400,
        2,
        [
            vm("b"),
            vm(
                "a",
                2,
                user=10,
                hold=300,
                lock={"kind": "pv_ticket", "spin_threshold": "110ns", "wakeup": "20ns"},
            ),
        ],
        round_robin(100, [0.1, 1.0]),
        vm_exit=5,
    ),
    {"idle_ns": 0, "events": 3 + 2 + 4},
    a={
        "acquisitions": 2,
        "contended_acquisitions": 1,
        "wait_ns": 315,
        "lwp_events": 1,
        "lwp_grants": 1,
        "lhp_events": 0,
        "preemptions": 1,
        "halts": 1,
        "kicks": 1,
        "yields": 0,
        "user_ns": 30,
        "hold_ns": 365,
        "spin_ns": 185,
        "spin_lwp_ns": 10,
        "exit_ns": 10,
        "halted_ns": 95,
        "ready_ns": 115,
    },
    b={"preemptions": 3, "user_ns": 210, "ready_ns": 190},
)

# b and a2 share p0, a0 is alone on p1, a1 on p2. A timeout of 30 for each ticket.
# b 0-12. a0 holds 10-95. a1 waits from 10 with number 1, a2 from 22 with number 2; a1's patience is over at 40, but the
# holder runs. At 95 a1 holds (waited 85), to 180; a2 has 30 from here. a0 95-105 user, waits with number 3, for 60.
# a2 is preempted at 132; b 132-252. At 180 a2 is granted the lock, off CPU; a0 has 30 from here. a1 180-190 user, waits
# with number 4, for 60. a0 passes at 210 (waited 105), holds to 295. a2 from 252 spins, holds from 295 (waited 273);
# LHP at 372, 8 left. a0 295-305 user, spins. a1's patience is over, but the owner is HOLDING.
add(
    "preemptable_ticket: past a preempted head, which then waits",
    study(
        390,
        3,
        [vm("b"), vm("a", 3, user=10, hold=85, lock={"kind": "preemptable_ticket", "timeout": "30ns"})],
        round_robin(120, [0.1, 1.0, 1.0]),
    ),
    {"idle_ns": 0, "fragmentation_ns": 0},
    a={
        "acquisitions": 4,
        "contended_acquisitions": 3,
        "wait_ns": 463,
        "wait_max_ns": 273,
        "lwp_events": 1,
        "lwp_grants": 1,
        "lhp_events": 1,
        "lhp_acquisitions": 1,
        "preemptions": 2,
        "user_ns": 60,
        "hold_ns": 332,
        "spin_ns": 628,
        "spin_lwp_ns": 50,
        "spin_lhp_ns": 36,
        "ready_ns": 150,
    },
)

# a0 on p0, a1 on p1. Threshold 30, X = 5, a wake-up takes 50.
# a0 holds 10-70. a1 waits from 10, spins to 40, exit to 45, halts. The release at 70 kicks it and leaves the lock free:
# exit to 75, a0 75-85 user, and it steals the lock: holds 85-145. a1 runs from 120, finds it held, has a new threshold,
# and gets it at 145 (waited 135), to 205. a0 145-155 user, spins to 185, exit to 190, halts. The release at 205 kicks
# it, exit to 210.
add(
    "pv_queue: a steal from a sleeping head",
    study(
        220,
        2,
        [
            vm(
                "a",
                2,
                user=10,
                hold=60,
                lock={"kind": "pv_queue", "spin_threshold": "30ns", "wakeup": "50ns", "check": "1us"},
            )
        ],
        round_robin(1000),
        vm_exit=5,
    ),
    {"idle_ns": 105, "fragmentation_ns": 0},
    a={
        "acquisitions": 3,
        "contended_acquisitions": 1,
        "wait_ns": 135,
        "lwp_grants": 0,
        "halts": 2,
        "kicks": 2,
        "user_ns": 50,
        "hold_ns": 180,
        "spin_ns": 85,
        "spin_lwp_ns": 0,
        "exit_ns": 20,
        "halted_ns": 105,
    },
)

# b and a1 share p0, a0 is alone on p1. X = 5, a check every 40.
# b 0-10. a0 holds 10-130. a1 10-20 user, spins as the head 20-110: LWP. b 110-210. At 130 the lock is free, but the head
# is awake: a0 130-140 user, joins the line behind it, spins (lwp) to the check at 180: exit to 185, halts. a1 at 210
# takes the lock (waited 190).
add(
    "pv_queue: a preempted head blocks steals, and who waits behind it halts",
    study(
        300,
        2,
        [
            vm("b"),
            vm(
                "a",
                2,
                user=10,
                hold=120,
                lock={"kind": "pv_queue", "spin_threshold": "1us", "wakeup": "50ns", "check": "40ns"},
            ),
        ],
        round_robin(100, [0.1, 1.0]),
        vm_exit=5,
    ),
    {"idle_ns": 115, "fragmentation_ns": 115},
    a={
        "acquisitions": 2,
        "contended_acquisitions": 1,
        "wait_ns": 190,
        "lwp_events": 1,
        "lwp_grants": 0,
        "lhp_events": 0,
        "preemptions": 1,
        "halts": 1,
        "kicks": 0,
        "user_ns": 30,
        "hold_ns": 210,
        "spin_ns": 130,
        "spin_lwp_ns": 40,
        "exit_ns": 5,
        "halted_ns": 115,
        "ready_ns": 110,
    },
    b={"preemptions": 2, "user_ns": 110},
)

# b and a2 share p0, a0 is alone on p1, a1 on p2.
# b 0-5. a0 holds 10-127. a1 waits from 10 as the head, a2 from 15 behind it. a2 is preempted at 125; b 125-245. a1 holds
# 127-244 (waited 117): a2 is the head, but does not run. a0 127-137 user; here the kinds differ.
LINE = {"spin_threshold": "1us", "wakeup": "50ns", "check": "1us"}
LINE_SCHEDULER = round_robin(120, [0.0417, 1.0, 1.0])
# a0 tries on from 137 and gets the lock at 244 (waited 107), to 361. a2 from 245 is pending. a1 244-254 user, queues.
# a2 holds from 361 (waited 346).
add(
    "hybrid_queue: a head that has not run yet is no reason to queue",
    study(
        364,
        3,
        [vm("b"), vm("a", 3, user=10, hold=117, lock={"kind": "hybrid_queue", **LINE})],
        LINE_SCHEDULER,
    ),
    {"idle_ns": 0},
    a={
        "acquisitions": 4,
        "contended_acquisitions": 3,
        "wait_ns": 570,
        "wait_max_ns": 346,
        "lwp_events": 1,
        "lwp_grants": 0,
        "preemptions": 1,
        "halts": 0,
        "user_ns": 53,
        "hold_ns": 354,
        "spin_ns": 560,
        "spin_lwp_ns": 0,
        "ready_ns": 125,
    },
)
# a0 queues behind a2, which at 245 takes the lock that is free since 244 (waited 230), to 362. a1 244-254 user, queues.
# a0 holds from 362 (waited 225).
add(
    "pv_queue: a head that has not run yet blocks steals",
    study(
        364, 3, [vm("b"), vm("a", 3, user=10, hold=117, lock={"kind": "pv_queue", **LINE})], LINE_SCHEDULER
    ),
    {"idle_ns": 0},
    a={
        "acquisitions": 4,
        "contended_acquisitions": 3,
        "wait_ns": 117 + 230 + 225,
        "wait_max_ns": 230,
        "user_ns": 52,
        "hold_ns": 353,
        "spin_ns": 562,
        "spin_lwp_ns": 1,
        "ready_ns": 125,
    },
)

# Reserve 30, X = 5. a 0-40 user, holds 40-60, 60-100 user: nothing of its slice is left, it gives way: exit to 105.
# b 105-205. a holds 205-225 (waited 105), 225-265 user, holds 265-285, user.
INFORMED = {"kind": "informed", "reserve": "30ns"}
add(
    "informed: too late in the slice",
    study(
        300,
        1,
        [vm("a", user=40, hold=20, lock=INFORMED), vm("b")],
        round_robin(100, slice_after_yield="rest"),
        vm_exit=5,
    ),
    {"idle_ns": 0},
    a={
        "acquisitions": 3,
        "contended_acquisitions": 1,
        "wait_ns": 105,
        "informed_yields": 1,
        "yields": 0,
        "preemptions": 0,
        "user_ns": 135,
        "hold_ns": 60,
        "spin_ns": 0,
        "exit_ns": 5,
        "ready_ns": 100,
    },
    b={"preemptions": 1, "user_ns": 100},
)

# Alone: at 105 a new slice, and the lock (waited 5), to 125; holds 165-185; the slice is renewed at 205, holds from 225.
add(
    "informed: alone",
    study(240, 1, [vm("a", user=40, hold=20, lock=INFORMED)], round_robin(100), vm_exit=5),
    {"idle_ns": 0},
    a={
        "acquisitions": 4,
        "contended_acquisitions": 1,
        "wait_ns": 5,
        "informed_yields": 1,
        "preemptions": 0,
        "user_ns": 160,
        "hold_ns": 75,
        "exit_ns": 5,
    },
)


def fair(latency: int, wakeup_granularity: int = 0, tick: int = 0) -> dict[str, Any]:
    """Fair scheduling. The draws of seed 1: two vCPUs of p0 are queued in vCPU order, three as 1, 0, 2, four as 0, 2,
    1, 3, three of p1 as 2, 0, 1; the first slice ends after 0.7592 of its length on p0, 0.4926 on p1.
    """
    return {
        "kind": "fair",
        "latency": f"{latency}ns",
        "granularity": "5ns",
        "wakeup_granularity": f"{wakeup_granularity}ns",
        "tick": f"{tick}ns",
    }


def credit(length: int, tick: int, ratelimit: int = 0) -> dict[str, Any]:
    """Credit scheduling; draws as for `fair`."""
    return {
        "kind": "credit",
        "slice": f"{length}ns",
        "tick": f"{tick}ns",
        "ratelimit": f"{ratelimit}ns",
    }


# a weighs 2, so its virtual runtime passes at half the rate. Slices of 20, the first to 16. a 0-16 (8); b 16-36
# (20); a 36-56 (18, so b is not due), 56-76 (28); b 76-96 (40); a 96-116 (38), 116-136 (48); b 136-150.
add(
    "fair: weights",
    study(150, 1, [vm("a", weight=2), vm("b")], fair(40)),
    {"idle_ns": 0},
    a={"user_ns": 96, "preemptions": 3, "context_switches": 2, "priority_inversion_ns": 54},
    b={"user_ns": 54, "preemptions": 2, "context_switches": 3},
)

# The same, checked every 7 ns only. a 0-21 (10.5); b 21-42 (21); a 42-63 (21, a tie: b is due); b 63-84 (42); a
# 84-105 (31.5), 105-126 (42); b 126-147; a 147-150.
add(
    "fair: ticks",
    study(150, 1, [vm("a", weight=2), vm("b")], fair(40, tick=7)),
    {"idle_ns": 0},
    a={"user_ns": 87, "preemptions": 3, "context_switches": 3},
    b={"user_ns": 63, "preemptions": 3, "context_switches": 3},
)

# a 0-12 user, holds 12-16: the first slice ends, LHP. b 16-31, HLT to 81. a alone: slices of 40 from 31 and 71;
# 31-67 hold, 67-79 user, holds from 79. b wakes at 81 at 46, half a latency less than a's 66; ahead by 20, more
# than 10: LHP. b 81-96, HLT. a 96-134 hold, 134-140 user.
SLEEPER = [
    vm("a", user=12, hold=40),
    vm("b", user=10, hold=5, halt={"probability": 1.0, "time": "50ns"}),
]
add(
    "fair: wake-up preemption",
    study(140, 1, SLEEPER, fair(40, 10)),
    {"idle_ns": 0, "fragmentation_ns": 0},
    a={
        "acquisitions": 2,
        "lhp_events": 2,
        "lhp_acquisitions": 2,
        "preemptions": 2,
        "user_ns": 30,
        "hold_ns": 80,
        "ready_ns": 30,
        "holder_off_ns": 30,
        "holder_off_spells": 2,
    },
    b={"preemptions": 0, "guest_halts": 2, "user_ns": 20, "hold_ns": 10, "halted_ns": 94, "ready_ns": 16},
)

# Ahead by 20 is not more than 20. But now two share the latency: a's slice from 71 ends at 91, not at 111.
add(
    "fair: the slice gets shorter",
    study(100, 1, SLEEPER, fair(40, 20)),
    {"idle_ns": 0},
    a={"lhp_events": 2, "preemptions": 2, "user_ns": 24, "hold_ns": 52, "ready_ns": 24},
    b={"user_ns": 19, "hold_ns": 5, "halted_ns": 50, "ready_ns": 26},
)

# a and c on p0, b on p1. b 0-10, HLT to 110: p1 pulls c. a is alone from then on. c 10-110, renewed there; b wakes
# at 60, half a latency less than c's 110: c is preempted. b 110-118.
PULLED = [vm("a"), vm("b", user=5, hold=5, halt={"probability": 1.0, "time": "100ns"}), vm("c")]
for name, scheduler in (("fair", fair(100, 10)), ("credit", credit(100, 1000))):
    # Under credit b wakes up boosted.
    add(
        f"{name}: an idle pCPU pulls",
        study(118, 2, PULLED, scheduler),
        {"idle_ns": 0, "fragmentation_ns": 0},
        a={"user_ns": 118, "preemptions": 0, "context_switches": 0},
        b={"user_ns": 10, "hold_ns": 8, "halted_ns": 100, "context_switches": 1},
        c={"user_ns": 100, "ready_ns": 18, "preemptions": 1, "context_switches": 1},
    )

# Two siblings share the weight of one: virtual runtime passes twice as fast. a0 0-10 user, holds 10-16 (32): LHP.
# a1 16-26 user, spins to 31 (30), yields; it is skipped although it is ahead. a0 31-51 hold (72), LHP; a1 spins
# 51-56 (40), yields; a0 56-76, LHP; a1 76-81; a0 81-85 hold, 85-90 user.
add(
    "fair: a yield skips the caller",
    study(
        90,
        1,
        [vm("a", 2, user=10, hold=50)],
        fair(40),
        response={"kind": "yield", "spin_threshold": "5ns"},
    ),
    {"idle_ns": 0},
    a={
        "acquisitions": 1,
        "lhp_events": 3,
        "lhp_acquisitions": 1,
        "lwp_grants": 1,
        "preemptions": 3,
        "yields": 3,
        "user_ns": 25,
        "hold_ns": 50,
        "spin_ns": 15,
        "spin_lhp_ns": 15,
        "ready_ns": 90,
    },
)

# a1 0-10 user, holds 10-16 (32): LHP. a0 16-26 user, spins to 31 (30). Its yield to a1 is not obeyed: a1 trails b
# (0) by 32, more than 20. b 31-71 (40): at 51 (20) nobody is due. a0 spins 71-76 (40), and now a1 (32) is the
# least: it inherits a0's slice and holds 76-85.
add(
    "fair: a directed yield that is not obeyed",
    study(
        85,
        1,
        [vm("a", 2, user=10, hold=50), vm("b")],
        fair(60, 20),
        response={"kind": "directed_yield", "spin_threshold": "5ns", "target": "holder"},
    ),
    {"idle_ns": 0},
    a={
        "yields": 2,
        "directed_yields_none": 1,
        "directed_yields_holder": 1,
        "lhp_events": 1,
        "preemptions": 1,
        "user_ns": 20,
        "hold_ns": 15,
        "spin_ns": 10,
    },
    b={"user_ns": 40, "preemptions": 1},
)

# 30 ns of credit every 30 ns: 22 to a, 7 to b. a 0-16, b 16-36. At 30: a -16 + 22, b -14 + 7: OVER. a 36-56, and on
# to 76 and 96, since b is of a lower class. At 60: a 6 - 24 + 22 = 4. At 90: a 4 - 30 + 22 = -4, OVER; b has 1.
# So b 96-110.
add(
    "credit: weights",
    study(110, 1, [vm("a", weight=3), vm("b")], credit(20, 10)),
    {"idle_ns": 0},
    a={"user_ns": 76, "preemptions": 2, "context_switches": 1, "priority_inversion_ns": 34},
    b={"user_ns": 34, "preemptions": 1, "context_switches": 2, "priority_inversion_ns": 0},
)

# a 0-20 user, holds 20-76: LHP. b 76-91, HLT to 141. a holds 91-151: b wakes at 141 boosted, but a may run for 60.
# b 151-166, HLT to 216. a 166-226, b 226-230.
add(
    "credit: boost and rate limit",
    study(
        230,
        1,
        [
            vm("a", user=20, hold=200),
            vm("b", user=10, hold=5, halt={"probability": 1.0, "time": "50ns"}),
        ],
        credit(100, 1000, 60),
    ),
    {"idle_ns": 0},
    a={
        "lhp_events": 3,
        "lhp_acquisitions": 1,
        "preemptions": 3,
        "user_ns": 20,
        "hold_ns": 176,
        "ready_ns": 34,
    },
    b={"user_ns": 24, "hold_ns": 10, "halted_ns": 100, "ready_ns": 96},
)

# Queued as a0, b, a1. X = 2, threshold 5. a0 0-12 user, holds 12-16: LHP. b 16-36. a1 36-48 user, spins to 53, exit to
# 55: all are UNDER, so it goes to the tail, behind a0 and b. a0 55-75 hold: LHP, 6 left. b 75-95. At 90: a0 -36 + 33 and
# b -35 + 22 are OVER, a1 -19 + 33 is not. a1 spins 95-100, exit to 102: it goes behind a0, but not behind b. a0 102-108
# hold (LWP grant), user to 120, spins to 122 (lwp): LWP. a1 holds (waited 74).
add(
    "credit: a yielder goes behind one of a lower class, else to the tail",
    study(
        130,
        1,
        [vm("b"), vm("a", 2, user=12, hold=30, weight=3)],
        credit(20, 30),
        response={"kind": "yield", "spin_threshold": "5ns"},
        vm_exit=2,
    ),
    {"idle_ns": 0},
    a={
        "acquisitions": 2,
        "contended_acquisitions": 1,
        "wait_ns": 74,
        "lhp_events": 2,
        "lhp_acquisitions": 1,
        "lwp_events": 1,
        "lwp_grants": 1,
        "preemptions": 3,
        "yields": 2,
        "exit_ns": 4,
        "user_ns": 36,
        "hold_ns": 38,
        "spin_ns": 12,
        "spin_lhp_ns": 10,
        "spin_lwp_ns": 2,
    },
    b={"preemptions": 2, "user_ns": 40},
)


def relaxed(variant: str, length: int, threshold: int, phase: Any = "aligned") -> dict[str, Any]:
    """Relaxed co-scheduling over round robin without randomness."""
    return {
        **round_robin(length, phase, placement="aligned"),
        "kind": "relaxed_coscheduling",
        "variant": variant,
        "skew_threshold": f"{threshold}ns",
    }


# b on p0; a0 behind it, a1 on p1. a1 0-30 user, holds 30-51: 51 ahead of a0, LHP. b to 100; a0 100-130 user; at 127
# a1 is ahead by less than 25, takes the idle p1 and holds on. a0 spins 130-150.
SKEWED = [vm("b"), vm("a", 2, user=30, hold=100)]
add(
    "esx4: who is ahead co-stops itself",
    study(150, 2, SKEWED, relaxed("esx4", 100, 50)),
    {"idle_ns": 76, "fragmentation_ns": 76},
    a={
        "lhp_events": 1,
        "lhp_acquisitions": 1,
        "preemptions": 1,
        "context_switches": 1,
        "user_ns": 60,
        "hold_ns": 44,
        "spin_ns": 20,
        "spin_lhp_ns": 0,
        "ready_ns": 100,
        "costop_ns": 76,
        "holder_off_ns": 76,
    },
    b={"user_ns": 100, "ready_ns": 50, "costop_ns": 0, "preemptions": 1},
)

# At 51 a0 lags by 51: both are co-stopped, LHP. a0 is first in its queue and starts at 100, when b's slice ends; so a1
# is runnable again too. a0 spins 130-150.
add(
    "esx3: the VM is co-stopped",
    study(150, 2, SKEWED, relaxed("esx3", 100, 50)),
    {"idle_ns": 49, "fragmentation_ns": 49},
    a={
        "lhp_events": 1,
        "preemptions": 1,
        "context_switches": 1,
        "user_ns": 60,
        "hold_ns": 71,
        "spin_ns": 20,
        "ready_ns": 51,
        "costop_ns": 98,
        "holder_off_ns": 49,
    },
    b={"user_ns": 100, "ready_ns": 50, "preemptions": 1},
)

# b0 on p0 to 100, b1 on p1 to 60; a0 and a1 behind them, a2 on p2. At 51 a0 and a1 lag. At 60 p1 is kept for a1; at
# 100 a0 has p0, and they start together; a2 is runnable again.
add(
    "esx3: those that lag start together",
    study(150, 3, [vm("b", 2), vm("a", 3)], relaxed("esx3", 100, 50, [1.0, 0.6, 1.0])),
    {"idle_ns": 49 + 40, "fragmentation_ns": 89},
    a={"user_ns": 201, "ready_ns": 102, "costop_ns": 147, "preemptions": 1, "context_switches": 2},
    b={"user_ns": 160, "ready_ns": 140, "preemptions": 2},
)

# Under all of them the vCPUs of a pCPU take turns, three or four of them in slices of 100.
IN_TURNS = credit(100, 100_000)
SKEW_CONTROLLED = {
    **IN_TURNS,
    "kind": "relaxed_coscheduling",
    "base": "credit",
    "variant": "esx4",
    "skew_threshold": "1ms",
}
for name, of_three, of_four in (
    ("fair", fair(300), fair(400)),
    ("credit", IN_TURNS, IN_TURNS),
    ("esx4 over credit", SKEW_CONTROLLED, SKEW_CONTROLLED),
):
    # Slices of 100, the first to 76 on p0 and 50 on p1. p0: a0, x0, c0; p1: c1, x1, a1. X = 3, threshold 10. a0 0-11
    # user, holds to 76: LHP, 32 left. a1 150-161 user, spins (lhp), notifies 171-174. At 176 a0 is picked before c0 and
    # holds to 208; a1 notifies 184-187 and 197-200 and gets the lock: LHP at 250, 55 left. The mark is set, but it has
    # just left: c1 250-350. a0 208-219 user, spins, notifies four times up to 271: LWP at 276. It has just left: c0
    # 276-376. At 350 a1 is picked before x1. No mark is left at 376: x0.
    add(
        f"notify: a mark, and who has just left, {name}",
        study(
            390,
            2,
            [vm("x", 2, weight=2), vm("a", 2, user=11, hold=97, weight=2), vm("c", 2, weight=2)],
            of_three,
            response={"kind": "notify", "spin_threshold": "10ns"},
            vm_exit=3,
        ),
        {"idle_ns": 0},
        a={
            "acquisitions": 2,
            "contended_acquisitions": 1,
            "wait_ns": 47,
            "lhp_events": 2,
            "lhp_acquisitions": 2,
            "lwp_events": 1,
            "lwp_grants": 0,
            "preemptions": 3,
            "exit_ns": 21,
            "user_ns": 33,
            "hold_ns": 179,
            "spin_ns": 83,
            "spin_lhp_ns": 32,
            "spin_lwp_ns": 0,
        },
        x={"user_ns": 214},
        c={"user_ns": 250},
    )

    # Slices of 100, the first to 76: a0, a2, a1, b. X = 3, threshold 50. a0 0-60 user, holds: LHP at 76. a2 76-136 user,
    # spins (lhp): LWP at 176. a1 likewise: LWP at 276. b. a0 376-476 holds: LHP. a2 spins to 526, notifies, spins from
    # 529: LWP at 576. Two are wanted: a1, which is queued before a0, spins from 576.
    add(
        f"notify: the first of those that are wanted, {name}",
        study(
            600,
            1,
            [vm("a", 3, user=60, hold=200, weight=3), vm("b")],
            of_four,
            response={"kind": "notify", "spin_threshold": "50ns"},
            vm_exit=3,
        ),
        {"idle_ns": 0},
        a={
            "acquisitions": 1,
            "lhp_events": 2,
            "lwp_events": 3,
            "preemptions": 5,
            "exit_ns": 3,
            "user_ns": 180,
            "hold_ns": 116,
            "spin_ns": 201,
            "spin_lhp_ns": 201,
        },
        b={"preemptions": 1, "user_ns": 100},
    )
