"""How Hypothesis tests run against mutants: a plugin of pytest.

The same examples each time, or a mutant would live one day and die the next. No shrinking: that a law was broken is
enough, and making the example small took most of the time.
"""

from hypothesis import HealthCheck, Phase, settings

settings.register_profile(
    "mutants",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=40,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
