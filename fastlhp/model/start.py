"""A study to start from: every key that people need, with its unit and what is accepted."""

from pathlib import Path
from string import Template

from fastlhp.model.validation import json_string

__all__ = ["DEFAULT_PRESET", "start_study"]

DEFAULT_PRESET = "kvm_pvqspinlock"

_TEXT = Template("""\
# A study of fastlhp. It runs as it is:
#
#     fastlhp check $file                     is it right, how large is it, how long will it take
#     fastlhp run $file -o results.h5         simulate
#     fastlhp show results.h5                 estimates with confidence intervals
#     fastlhp compare results.h5              which policy is best, how sure is that
#
# Times are texts with a unit: "500ns", "10us", "30ms", "2s", "4096cycles" (of the host's clock), "256pauses" (turns of
# a spin loop). Most may be random instead: { exponential = "40us" }, { uniform = ["1us", "3us"] },
# { lognormal = { mean = "2us", cv = 2.0 } }, { gamma = { mean = "2us", cv = 0.5 } }, and others: fastlhp help files.

[study]
name = $name
seed = 1                # of all random numbers: the same seed gives the same results, to the last bit
duration = "1s"         # simulated time that is measured
warmup = "200ms"        # simulated time before it, which is not
replications = 16       # independent repetitions of each configuration: more of them, narrower intervals

[host]
pcpus = 4               # physical CPUs, 1 to 1024
frequency = "2.6GHz"    # turns times into cycles
context_switch = "2us"  # lost when a pCPU changes to another vCPU
vm_exit = "500ns"       # lost at a hypercall or trap
# pause = "140cycles"   # one turn of a spin loop

[policy]
# A real system: its scheduler, what it does against lock-holder preemption, and its lock. fastlhp presets lists them.
preset = "baseline"
# A part of it can be replaced, or all of it. fastlhp help catalogue has the kinds and their parameters.
# scheduler = { kind = "round_robin", slice = "10ms" }        # who runs, for how long
# guard = { kind = "delay", cap = "500us" }                   # what is done at a slice end in a critical section
# response = { kind = "yield", spin_threshold = "25us" }      # what a vCPU does that has spun for a while

[[vm]]                  # equal VMs; as many such tables as there are kinds of VM
name = "guest"
count = 2               # how many of them, 0 to 4096
vcpus = 4               # virtual CPUs of each, 1 to 64
# weight = 1            # of the VM, under schedulers that know weights (credit, fair)
# lock = { kind = "ticket", count = 1 }                       # instead of the preset's; count: locks of the VM
user = { exponential = "40us" }                               # between two visits to the kernel
kernel = "0us"                                                # in the kernel, outside of critical sections
hold = { lognormal = { mean = "2us", cv = 2.0 } }             # in the critical section
# handover = "100ns"                                          # to pass a contended lock on
# halt = { probability = 0.1, time = { exponential = "1ms" } }  # how often a vCPU then sleeps, and how long
# profile = "rq_lock"   # measured hold times of a lock of Linux, instead of hold; fastlhp presets lists them

[sweep]                 # lists of values for anything above, by its path; all combinations are run
"vm.guest.count" = [1, 2, 3, 4]
"policy.preset" = $presets
# "vm.guest.hold.lognormal.mean" = ["1us", "2us", "5us"]
# "policy.guard" = [{ kind = "none" }, { kind = "delay", cap = "500us" }]
# where = "vm.guest.count * vm.guest.vcpus <= 12"             # leaves combinations out; fastlhp help design
""")


def start_study(file: str, preset: str = DEFAULT_PRESET) -> str:
    """Return a commented study that compares a preset with `baseline`, for one to four VMs.

    Parameters
    ----------
    file : str
        Name of the file that it will be; the study is named after it.
    preset : str, optional
        Name of the preset.
    """
    presets = ", ".join(json_string(each) for each in dict.fromkeys(("baseline", preset)))
    name = json_string(Path(file).stem[:200])
    return _TEXT.substitute(file=file, name=name, presets=f"[{presets}]")
