"""A decision about the code of assets is about assets that exist, and is one decision."""

import pytest

from borderline.cli.code_versions import code_versions
from contracts.files.yaml_lines import ConfigurationError


@pytest.mark.parametrize(
    ("assets", "options", "said"),
    [
        ([], {"raises": True}, "--all"),
        (["splitz"], {"raises": True}, "Did you mean 'splits'"),
        (["splits"], {"raises": True, "changes_nothing": True}, "two decisions"),
    ],
)
def test_a_decision_about_nothing_or_about_both_is_refused(
    assets: list[str], options: dict[str, bool], said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said):
        code_versions(assets, **options)


def test_without_a_decision_the_waiting_assets_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    code_versions()
    assert capsys.readouterr().out == "every code version was decided for the code as it is\n"
