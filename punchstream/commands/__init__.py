"""The commands' groups: they read arguments and print answers, and decide nothing."""
