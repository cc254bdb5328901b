"""Every preset is complete and valid by itself."""

import pytest

from fastlhp.model.distributions import Constant
from fastlhp.model.presets import preset, preset_names, preset_text
from fastlhp.model.study import load


def test_names():
    assert {"baseline", "microslice", "balance", "uhlig_hint", "vmware_esx2"} <= set(preset_names())
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
        ("i_spinlock", "round_robin", 30_000_000, "spread", "none", "informed"),
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
