"""What the package shows: few names, sorted, each of them really there."""

import fms_hub


def test_names_are_sorted_few_and_importable() -> None:
    assert fms_hub.__all__ == sorted(fms_hub.__all__)
    assert len(fms_hub.__all__) <= 13
    assert set(fms_hub.__all__) == set(fms_hub._HOME)
    for name in fms_hub.__all__:
        assert getattr(fms_hub, name).__name__ == name
    assert set(fms_hub.__all__) <= set(dir(fms_hub))
