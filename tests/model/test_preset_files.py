"""Every preset is complete and valid by itself."""

import pytest

from fastlhp.model.distributions import Constant
from fastlhp.model.presets import preset, preset_names, preset_text
from fastlhp.model.study import load


def test_names():
    assert preset_names() == (
        "balance",
        "baseline",
        "ecs",
        "hyper_v",
        "i_spinlock",
        "kvm_ple",
        "kvm_pvqspinlock",
        "microslice",
        "uhlig_driver",
        "uhlig_hint",
        "uhlig_monitor",
        "vmware_esx2",
        "vmware_esx3",
        "vmware_esx4",
        "xen_credit",
        "xen_pv",
    )
    with pytest.raises(KeyError):
        preset_text("../example_study")


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_is_complete(name, example):
    tree = preset(name)
    assert set(tree) == {"description", "host", "policy", "lock"}
    assert "\n" not in tree["description"]
    assert preset_text(name).startswith("#")
    example["policy"] = {"preset": name}
    example["host"] = {"pcpus": 4, "frequency": "2.6GHz"}
    del example["vm"][0]["lock"]
    (configuration,) = load(example).configurations
    assert configuration.host.context_switch == Constant(2000)
    assert configuration.host.vm_exit == Constant(500)
    for family in ("scheduler", "guard", "response"):
        assert getattr(configuration, family).kind == tree["policy"][family]["kind"]
    assert configuration.vms[0].lock.kind == tree["lock"]["kind"]


@pytest.mark.parametrize(
    ("name", "scheduler", "slice_ns", "placement", "guard", "lock"),
    [
        ("baseline", "round_robin", 30_000_000, "spread", "none", "ticket"),
        ("microslice", "round_robin", 100_000, "spread", "none", "ticket"),
        ("balance", "round_robin", 30_000_000, "balance", "none", "ticket"),
        ("uhlig_hint", "round_robin", 10_000_000, "spread", "delay", "test_and_set"),
        ("vmware_esx2", "gang", 50_000_000, None, "none", "test_and_set"),
        ("uhlig_monitor", "round_robin", 10_000_000, "spread", "monitor", "test_and_set"),
        ("uhlig_driver", "round_robin", 10_000_000, "spread", "driver", "test_and_set"),
        ("hyper_v", "round_robin", 10_000_000, "spread", "none", "ticket"),
        ("i_spinlock", "round_robin", 30_000_000, "spread", "none", "informed"),
        ("xen_credit", "credit", 30_000_000, None, "none", "ticket"),
        ("xen_pv", "credit", 30_000_000, None, "none", "pv_ticket"),
        ("vmware_esx3", "relaxed_coscheduling", 50_000_000, "spread", "none", "ticket"),
        ("vmware_esx4", "relaxed_coscheduling", 50_000_000, "spread", "none", "ticket"),
    ],
)
def test_what_the_presets_are(example, name, scheduler, slice_ns, placement, guard, lock):
    example["policy"] = {"preset": name}
    del example["vm"][0]["lock"]
    (configuration,) = load(example).configurations
    assert configuration.scheduler.kind == scheduler
    assert configuration.scheduler.slice.value_ns == slice_ns
    assert getattr(configuration.scheduler, "placement", None) == placement
    assert configuration.guard.kind == guard
    assert configuration.vms[0].lock.kind == lock


@pytest.mark.parametrize(
    ("name", "guard", "lock"),
    [
        ("kvm_ple", "none", "ticket"),
        ("kvm_pvqspinlock", "none", "pv_queue"),
        ("ecs", "extra_slice", "hybrid_queue"),
    ],
)
def test_presets_with_the_fair_scheduler(example, name, guard, lock):
    example["policy"] = {"preset": name}
    del example["vm"][0]["lock"]
    (configuration,) = load(example).configurations
    scheduler, response = configuration.scheduler, configuration.response
    assert scheduler.kind == "fair"
    assert (scheduler.latency, scheduler.granularity) == (Constant(24_000_000), Constant(3_000_000))
    assert configuration.guard.kind == guard
    assert configuration.vms[0].lock.kind == lock
    if name.startswith("kvm"):
        assert (response.kind, response.target, response.window_grow) == ("directed_yield", "round_robin", 2)
        assert response.spin_threshold == Constant(round(4096 / 2.6))
