"""The app's own tests, by Frappe's test runner, all in one process."""

import re

from frappe_bench import FrappeBench


def test_the_tests_of_the_app_pass_together(bench: FrappeBench) -> None:
    ran = bench.frappe("run-tests", "--app", "biometric_integration", timeout=900)

    said = ran.stdout + ran.stderr
    assert ran.returncode == 0, said
    assert re.search(r"^Ran [1-9]\d* tests", said, re.MULTILINE), said
    assert not re.search(r"skipped=|errors=|failures=", said), said
